"""Steady under load: memory stays where it was, connections few, and a long queue costs as much a job as a short one.

Each test runs small with the others, and in its full size by ``make steady``, which prints the figures.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import pytest
import redis.asyncio

from taskserver import Client
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.embedded import find_binary
from taskserver.store.jobs import admin
from taskserver.store.keys import GROUP, Keys
from tests.brokers import Server
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.leaks import leaked

ROOT = Path(__file__).resolve().parents[2]
QUEUE = "steady"
MIB = 2**20

Tell = Callable[..., None]


def sizes(small: int, full: int) -> pytest.MarkDecorator:
    """Runs the test with ``small`` jobs, and with ``full`` of them where it is asked for."""
    marks = (pytest.mark.steady, pytest.mark.timeout(3600))
    return pytest.mark.parametrize("jobs", [small, pytest.param(full, marks=marks)])


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Tell:
    """Prints a figure, in the full size."""
    full = request.node.get_closest_marker("steady") is not None

    def say(text: str) -> None:
        if full:
            with capsys.disabled():
                print(f"\n  {text}", end="")

    return say


class Work(NamedTuple):
    """CPU seconds that the server and the worker have used so far."""

    server: float
    worker: float

    def per_job(self, before: Work, jobs: int) -> tuple[float, float]:
        """Microseconds a job, of each."""
        return (self.server - before.server) / jobs * 1e6, (self.worker - before.worker) / jobs * 1e6


class MeasuredFleet:
    """A broker of its own and a worker process, both under measurement."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(str(find_binary())).start()
        self.url = self.server.url
        self.keys = Keys(QUEUE)
        self.redis: Any = redis.asyncio.Redis.from_url(self.url, decode_responses=True)
        self._log = folder / "worker.log"
        with self._log.open("w") as log:
            self.worker = psutil.Popen(
                [
                    *(sys.executable, "-m", "taskserver", "worker", "--tools", "tests.faults.programs.tools"),
                    *("--queue", QUEUE, "--concurrency", "100", "--broker", self.url),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    async def ready(self, eventually: Eventually) -> Self:
        async def is_ready() -> bool:
            assert self.worker.poll() is None, self._log.read_text()
            return "is ready" in self._log.read_text()

        await eventually(is_ready)
        return self

    async def drained(self) -> None:
        """Wait until no job waits or runs: entries leave their lane when their job has ended."""
        while any([await self.redis.xlen(self.keys.lane(lane)) for lane in (RETURNED, *LANES)]):
            await asyncio.sleep(0.02)

    async def work(self) -> Work:
        info = await self.redis.info("cpu")
        times = self.worker.cpu_times()
        return Work(info["used_cpu_user"] + info["used_cpu_sys"], times.user + times.system)

    async def used_memory(self) -> int:
        """Bytes of the broker, but for the buffers of its clients, which come and go."""
        info = await self.redis.info("memory")
        return int(info["used_memory"] - info["mem_clients_normal"])

    async def close(self) -> None:
        await self.redis.aclose()
        self.worker.terminate()
        assert self.worker.wait(60) == 0
        self.server.close()


@pytest.fixture
async def fleet(tmp_path: Path, eventually: Eventually) -> AsyncIterator[MeasuredFleet]:
    fleet = MeasuredFleet(tmp_path)
    try:
        yield await fleet.ready(eventually)
    finally:
        await fleet.close()


async def submit(client: Client, jobs: int, **options: Any) -> None:
    """No-op jobs, some thousand at a time: the handles of a million would be memory of this process."""
    for start in range(0, jobs, 5_000):
        await client.submit_many((("noop", {"number": n}) for n in range(start, min(jobs, start + 5_000))), **options)


@sizes(small=10_000, full=200_000)
async def test_the_memory_of_worker_and_broker_stays_flat(
    fleet: MeasuredFleet, jobs: int, tell: Tell, eventually: Eventually
) -> None:
    tenth = jobs // 10
    async with Client(fleet.url, queue=QUEUE) as client:
        await submit(client, 1_000, result_ttl=1)  # scripts are loaded, buffers grown
        await fleet.drained()
        await eventually(lambda: _only_structures(fleet))
        at_first, sizes = await fleet.used_memory(), []
        for _ in range(10):
            await submit(client, tenth, result_ttl=1)
            await fleet.drained()
            sizes.append(fleet.worker.memory_info().rss)
    await eventually(lambda: _only_structures(fleet))
    in_the_end = await fleet.used_memory()
    tell(f"worker memory after {tenth:,} jobs {sizes[0] / MIB:.1f} MiB, after {jobs:,} jobs {sizes[-1] / MIB:.1f} MiB")
    tell(f"broker memory at first {at_first / MIB:.2f} MiB, in the end {in_the_end / MIB:.2f} MiB")
    assert sizes[-1] < 1.1 * sizes[0] + 4 * MIB
    assert in_the_end < 1.1 * at_first + MIB
    assert leaked(fleet.url) == []


async def _only_structures(fleet: MeasuredFleet) -> bool:
    """Every result has expired, and every structure is empty."""
    keys = fleet.keys
    for lane in (RETURNED, *LANES):
        assert await fleet.redis.xlen(keys.lane(lane)) == 0
        assert (await fleet.redis.xpending(keys.lane(lane), GROUP))["pending"] == 0
    for name in (keys.delayed, keys.expiring, keys.dead):
        assert not await fleet.redis.exists(name)
    return bool(await fleet.redis.dbsize() < 20)


@sizes(small=2_000, full=10_000)
async def test_any_number_of_results_is_awaited_on_one_connection(fleet: MeasuredFleet, jobs: int, tell: Tell) -> None:
    async with Client(f"{fleet.url}?client_name=awaiting", queue=QUEUE) as client:
        few = await connections_while_awaiting(fleet, client, 10)
        many = await connections_while_awaiting(fleet, client, jobs)
    tell(f"{jobs:,} awaited results: {many.listening} connection that listens, {many.all} in all; 10: {few.all} in all")
    assert few.listening == many.listening == 1
    assert many.all <= 10  # eight for commands at most, whatever the number of jobs


class Connections(NamedTuple):
    """The most that the server saw at once."""

    all: int
    listening: int


async def connections_while_awaiting(fleet: MeasuredFleet, client: Client, jobs: int) -> Connections:
    """Await so many jobs at once; halfway the connection for their notifications is cut."""
    await fleet.redis.hset(fleet.keys.meta, "paused", "1")
    handles = await client.submit_many([("noop", {"number": number}) for number in range(jobs)])
    results = [asyncio.create_task(job.result(timeout=300)) for job in handles]
    most = Connections(0, 0)
    cut = False
    await admin.resume(await broker_of(client), QUEUE)
    running = True
    while running:
        running = not all(task.done() for task in results)
        listed = [each for each in await fleet.redis.client_list() if each["name"] == "awaiting"]
        listening = [each["id"] for each in listed if each["sub"] != "0"]
        most = Connections(max(most.all, len(listed)), max(most.listening, len(listening)))
        if not cut and listening and sum(task.done() for task in results) >= jobs // 2:
            cut = bool(await fleet.redis.client_kill_filter(_id=listening[0]))
        await asyncio.sleep(0.01)
    assert [await task for task in results] == list(range(jobs))
    return most


@sizes(small=30_000, full=1_000_000)
async def test_a_long_queue_costs_no_more_per_job_than_a_short_one(fleet: MeasuredFleet, jobs: int, tell: Tell) -> None:
    async with Client(fleet.url, queue=QUEUE) as client:
        await drain(fleet, client, 1_000)
        costs = [await drain(fleet, client, 1_000) for _ in range(10)]
        short = [sum(parts) / len(costs) for parts in zip(*costs, strict=True)]
        long = await drain(fleet, client, jobs)
    ratios = [of_long / of_short for of_long, of_short in zip(long, short, strict=True)]
    for who, of_long, of_short, ratio in zip(("server", "worker"), long, short, ratios, strict=True):
        tell(f"{who} CPU per job: {of_long:.1f} µs of {jobs:,} queued, {of_short:.1f} µs of 1,000: ratio {ratio:.2f}")
    # In the small size, on a busy machine, the figure is rough; a cost that grows with the queue would show 30-fold.
    assert max(ratios) < (1.5 if jobs > 100_000 else 4)


async def drain(fleet: MeasuredFleet, client: Client, jobs: int) -> tuple[float, float]:
    """What it costs the server and the worker to claim, run and finish each of so many jobs that wait."""
    broker = await broker_of(client)
    await admin.pause(broker, QUEUE)
    await submit(client, jobs)
    before = await fleet.work()
    await admin.resume(broker, QUEUE)
    await fleet.drained()
    return (await fleet.work()).per_job(before, jobs)
