"""What is measured. Each scenario runs once per round and returns one figure with what it cost."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.floor import drain_floor
from benchmarks.server import Server, Work
from benchmarks.start import PROGRAMS, start_time
from benchmarks.worker import WorkerProcess
from taskserver import Client
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.jobs import admin

QUEUE = "bench"


class Figure(NamedTuple):
    """One measurement.

    Attributes:
        value: Jobs a second, or milliseconds.
        worker_us: Worker CPU per job, in microseconds; NaN where no worker process is measured.
        server_us: Server CPU per job, in microseconds.
        round_trips: Socket reads of the server a job.
        commands: Commands a job, those inside scripts counted too.
    """

    value: float
    worker_us: float = float("nan")
    server_us: float = float("nan")
    round_trips: float = float("nan")
    commands: float = float("nan")


Scenario = Callable[[Server, int], Awaitable[Figure]]


def _figure(jobs: int, seconds: float, work: Work, worker_cpu: float = float("nan")) -> Figure:
    return Figure(
        jobs / seconds, worker_cpu / jobs * 1e6, work.cpu / jobs * 1e6, work.reads / jobs, work.commands / jobs
    )


async def _timed_submit(server: Server, jobs: int, submit: Callable[[Client], Awaitable[None]]) -> Figure:
    await server.empty()
    async with Client(server.url, queue=QUEUE) as client:
        await client.submit("noop", {"number": -1})
        before, start = await server.work(), time.perf_counter()
        await submit(client)
        seconds = time.perf_counter() - start
        return _figure(jobs, seconds, await server.work() - before)


async def submit_one_by_one(server: Server, jobs: int) -> Figure:
    """Each submit is awaited before the next."""
    jobs //= 5

    async def submit(client: Client) -> None:
        for number in range(jobs):
            await client.submit("noop", {"number": number})

    return await _timed_submit(server, jobs, submit)


async def submit_gathered(server: Server, jobs: int) -> Figure:
    """A hundred submits at a time with asyncio.gather."""

    async def submit(client: Client) -> None:
        for start in range(0, jobs, 100):
            await asyncio.gather(*(client.submit("noop", {"number": start + i}) for i in range(100)))

    return await _timed_submit(server, jobs, submit)


async def submit_batched(server: Server, jobs: int) -> Figure:
    """One submit_many."""

    async def submit(client: Client) -> None:
        await client.submit_many([("noop", {"number": number}) for number in range(jobs)])

    return await _timed_submit(server, jobs, submit)


def drain(concurrency: int) -> Scenario:
    """A worker process empties a full queue of no-op jobs; results are kept."""

    async def run(server: Server, jobs: int) -> Figure:
        await _fill(server, jobs)
        await admin.pause(server.broker, QUEUE)
        async with WorkerProcess(server.broker, QUEUE, concurrency) as worker:
            before, cpu, start = await server.work(), worker.cpu(), time.perf_counter()
            await admin.resume(server.broker, QUEUE)
            await _wait_empty(server)
            seconds = time.perf_counter() - start
            return _figure(jobs, seconds, await server.work() - before, worker.cpu() - cpu)

    return run


def floor(concurrency: int) -> Scenario:
    """The same scripts in a bare loop, without the product around them: what is left to gain in the worker."""

    async def run(server: Server, jobs: int) -> Figure:
        await _fill(server, jobs)
        before, cpu, start = await server.work(), time.process_time(), time.perf_counter()
        await asyncio.to_thread(drain_floor, server.broker, QUEUE, jobs, concurrency)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return _figure(jobs, seconds, await server.work() - before, cpu)

    return run


async def latency(server: Server, jobs: int) -> Figure:
    """Submit to result with an idle worker: the median, in milliseconds."""
    samples = await _latencies(server, jobs // 20)
    return Figure(statistics.median(samples) * 1000)


async def latency_p99(server: Server, jobs: int) -> Figure:
    """The same: the 99th percentile."""
    samples = await _latencies(server, jobs // 20)
    return Figure(statistics.quantiles(samples, n=100)[98] * 1000)


def start(program: str) -> Scenario:
    """The processor time that a program takes from its start to its end."""

    async def run(server: Server, jobs: int) -> Figure:
        return Figure(await start_time(program))

    return run


async def _latencies(server: Server, jobs: int) -> list[float]:
    await server.empty()
    samples = []
    async with WorkerProcess(server.broker, QUEUE, 10), Client(server.url, queue=QUEUE) as client:
        for number in range(-50, jobs):
            start = time.perf_counter()
            job = await client.submit("noop", {"number": number})
            await job.result(timeout=30)
            if number >= 0:
                samples.append(time.perf_counter() - start)
    return samples


async def _fill(server: Server, jobs: int) -> None:
    await server.empty()
    async with Client(server.url, queue=QUEUE) as client:
        await client.submit_many([("noop", {"number": number}) for number in range(jobs)])


async def _wait_empty(server: Server) -> None:
    """Entries leave their lane when their job has ended."""
    keys = server.broker.keys(QUEUE)
    while any([await server.broker.client(server.broker.url).xlen(keys.lane(lane)) for lane in (RETURNED, *LANES)]):
        await asyncio.sleep(0.005)


SCENARIOS: dict[str, tuple[str, Scenario]] = {
    "submit one by one": ("jobs/s", submit_one_by_one),
    "submit gathered by 100": ("jobs/s", submit_gathered),
    "submit batched": ("jobs/s", submit_batched),
    "drain, concurrency 10": ("jobs/s", drain(10)),
    "drain, concurrency 100": ("jobs/s", drain(100)),
    "floor of drain, 100 at a time": ("jobs/s", floor(100)),
    "submit to result, p50": ("ms", latency),
    "submit to result, p99": ("ms", latency_p99),
    **{name: ("ms", start(name)) for name in PROGRAMS},
}
