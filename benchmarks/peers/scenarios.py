"""What is measured. Each scenario is one row or column of the tables, and runs once a round for every system."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from benchmarks.peers.processes import AdapterProcess, NotSupported
from benchmarks.peers.stage import Figures, OverTooSoon, Stage, cores

BURN = 0.005
"""Seconds of CPU of one CPU-bound job."""

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
"""Bytes of arguments."""

FILL_LIMIT = 60
"""Seconds that filling a backlog may take."""


class Pace(NamedTuple):
    """How fast a system was before the rounds, from which its numbers of jobs are chosen. Never a result.

    Attributes:
        submit: Jobs a second one by one.
        fill: Jobs a second by the fastest way.
        drain: Jobs a second with one worker.
        window: Seconds that one measurement should take.
    """

    submit: float
    fill: float
    drain: float
    window: float

    def jobs(self, rate: float, least: int = 200, most: int = 100_000) -> int:
        """So many that they take about one window at this rate."""
        return round(min(max(rate * self.window, least), most))


Measure = Callable[[Stage, Pace], Awaitable[Figures]]


class Scenario(NamedTuple):
    """One measurement.

    Attributes:
        name: Its key in the results.
        measure: Runs it once.
        limit: Seconds after which it is given up.
        rounds: In how many of the rounds it runs at most.
        on_floor: Whether it makes sense for our scripts alone.
    """

    name: str
    measure: Measure
    limit: float = 30
    rounds: int = 1000
    on_floor: bool = False


async def pace_of(stage: Stage, window: float) -> Pace:
    """Find out how fast a system is, by ever more jobs until they take long enough to tell."""
    submit = (await stage.submit("noop", 100, "one by one"))["rate"]
    fill = (await stage.submit("noop", 500))["rate"]
    jobs = 200
    while True:
        try:
            drain = (await stage.drain(jobs))["rate"]
        except OverTooSoon:
            jobs *= 10
            continue
        if jobs / drain > window / 3 or jobs >= 20_000:
            return Pace(submit, fill, drain, window)
        jobs = min(20_000, max(2 * jobs, round(drain * window)))


def _submit(how: str) -> Measure:
    async def measure(stage: Stage, pace: Pace) -> Figures:
        rate = {"one by one": pace.submit, "gathered": 2 * pace.submit, "batched": pace.fill}[how]
        return await stage.submit("noop", pace.jobs(rate, most=50_000), how)

    return measure


def _drain(concurrency: int, workers: int) -> Measure:
    async def measure(stage: Stage, pace: Pace) -> Figures:
        return await stage.drain(pace.jobs(pace.drain * workers), workers=workers, concurrency=concurrency)

    return measure


def _waiting(seconds: float, workers: int) -> Measure:
    """Jobs that wait, at concurrency 100: with ``ideal``, what the slots alone would allow."""

    async def measure(stage: Stage, pace: Pace) -> Figures:
        ideal = workers * 100 / seconds
        jobs = pace.jobs(min(ideal * 1.5, pace.drain * workers))
        return {**await stage.drain(jobs, workers=workers, task="pause", value=seconds), "ideal": ideal}

    return measure


async def _latency(stage: Stage, pace: Pace) -> Figures:
    """Submit to result, one job at a time, with an idle worker."""
    return _quantiles((await _latencies(stage, 200, 5 * pace.window, "noop", [None]))[0])


async def _payloads(stage: Stage, pace: Pace) -> Figures:
    """Submit to result, for arguments of several sizes."""
    texts = ["x" * size for size in SIZES]
    samples = await _latencies(stage, 20, pace.window, "take", texts)
    return {f"p50_{size}": statistics.median(each) * 1000 for size, each in zip(SIZES, samples, strict=True)}


async def _latencies(
    stage: Stage, jobs: int, seconds: float, task: str, values: Sequence[str | None]
) -> list[list[float]]:
    """For each value, so many times from submit to result, or as many as fit into so many seconds."""
    async with stage.fleet(1, 10) as fleet:
        producer = await stage.fresh()
        fleet.go()
        stage.jobs = jobs * len(values)
        return [
            (await producer.ask(do="latency", task=task, jobs=jobs, seconds=seconds, value=value))["samples"]
            for value in values
        ]


def _open_loop(rate: float | None) -> Measure:
    """Jobs come at a fixed rate, whatever the system does; None: at 70 % of the rate at which it drains."""

    async def measure(stage: Stage, pace: Pace) -> Figures:
        arrivals = rate or 0.7 * pace.drain
        async with stage.fleet(1, 100, "stamp") as fleet:
            producer = await stage.fresh()
            fleet.go()
            await producer.ask(do="submit", task="stamp", jobs=20, how="one by one", value=0)  # warms up
            await stage.wait_for(20, fleet)
            answer = await producer.ask(do="paced", rate=arrivals, seconds=3 * pace.window)
            await stage.wait_for(20 + answer["sent"], fleet)
        delays = stage.delays()[20:]
        return {**_quantiles(delays), "arrivals": arrivals, "sent": answer["sent"] / answer["seconds"]}

    return measure


async def _memory(stage: Stage, pace: Pace) -> Figures:
    """Megabytes of the broker for 10,000 queued jobs with 200 bytes of arguments, and what is left when they ended.

    The producer is disconnected whenever the memory is read, and the workers are gone at the end: connections and
    their buffers can take more than the jobs.
    """
    jobs, text = (10_000 if pace.drain > 500 else 2_000), "x" * 200
    async with stage.fleet(1, 100) as fleet:
        producer = await stage.fresh()
        await producer.ask(do="submit", task="take", jobs=100, how="fastest", value=text)  # scripts, structures
        before = await _disconnected(stage, producer)
        await producer.ask(do="open")
        await producer.ask(do="submit", task="take", jobs=jobs, how="fastest", value=text)
        queued = await _disconnected(stage, producer) - before
        fleet.go()
        await stage.wait_for(100 + jobs, fleet)
    left = await _disconnected(stage, producer, opened=False) - before
    await producer.ask(do="open")  # as the next measurement expects it
    scale = 10_000 / jobs / 1e6
    return {"queued_mb": queued * scale, "left_mb": left * scale, "jobs": jobs}


async def _disconnected(stage: Stage, producer: AdapterProcess, *, opened: bool = True) -> int:
    """The broker's memory without the producer's connections."""
    if opened:
        await producer.ask(do="close")
    await asyncio.sleep(0.1)  # the server frees a connection some time after it was closed
    return await stage.server.memory()


def _burning(workers: int, *, processes: bool) -> Measure:
    """CPU-bound jobs against the ideal: every core busy with nothing else."""

    async def measure(stage: Stage, pace: Pace) -> Figures:
        if processes and stage.system.processes != "yes":
            raise NotSupported(stage.system.processes)
        jobs = round(pace.window * cores() / BURN / (1 if processes else 2))  # so that a pool has time to warm up
        figures = await stage.drain(
            jobs, workers=workers, concurrency=cores(), task="burn", value=BURN, processes=processes
        )
        return {**figures, "ideal": cores() / BURN}

    return measure


def _backlog(size: int) -> Measure:
    """The cost of a job with this many in front of it."""

    async def measure(stage: Stage, pace: Pace) -> Figures:
        if size / pace.fill > FILL_LIMIT:
            raise NotSupported(f"filling takes over {FILL_LIMIT} s ({pace.fill:,.0f}/s)")
        measured = min(size, pace.jobs(pace.drain, least=500))
        return await stage.drain(size, measured=measured)

    return measure


def _awaited(jobs: int) -> Measure:
    """Submit many jobs and wait for all of their results at once; connections are the producer's, at most."""

    async def measure(stage: Stage, _: Pace) -> Figures:
        async with stage.fleet(1, 100) as fleet:
            producer = await stage.fresh()
            fleet.go()
            await producer.ask(do="submit", task="noop", jobs=20, how="one by one")
            await stage.wait_for(20, fleet)
            before, peak = await stage.server.clients(), 0
            asked = asyncio.create_task(producer.ask(do="awaited", jobs=jobs))
            try:
                while not asked.done():
                    peak = max(peak, await stage.server.clients())
                    await asyncio.wait((asked,), timeout=0.1)
                    stage.jobs = jobs
                seconds = (await asked)["seconds"]
            finally:
                asked.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await asked
        return {"rate": jobs / seconds, "seconds": seconds, "connections": max(1, peak - before + 1)}

    return measure


def _quantiles(seconds: Sequence[float]) -> Figures:
    """Percentiles in milliseconds."""
    ordered = sorted(seconds)

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "p999": at(0.999)}


def scenarios(*, quick: bool) -> list[Scenario]:
    """All of them. A quick run leaves the largest backlog out and awaits fewer results."""
    backlogs = (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    awaited = 1_000 if quick else 10_000
    return [
        Scenario("submit one by one", _submit("one by one"), on_floor=True),
        Scenario("submit gathered", _submit("gathered")),
        Scenario("submit batched", _submit("batched"), on_floor=True),
        *(
            Scenario(f"drain c{concurrency} w{workers}", _drain(concurrency, workers), on_floor=True)
            for concurrency in (10, 100)
            for workers in (1, 2)
        ),
        *(
            Scenario(f"wait {round(seconds * 1000)} ms w{workers}", _waiting(seconds, workers))
            for seconds in (0.001, 0.1)
            for workers in (1, 2)
        ),
        Scenario("latency", _latency),
        Scenario("open loop 200/s", _open_loop(200), rounds=3),
        Scenario("open loop 1000/s", _open_loop(1000), rounds=3),
        Scenario("open loop 70 %", _open_loop(None), rounds=3),
        Scenario("memory", _memory, limit=60, rounds=1),
        Scenario("cpu w1", _burning(1, processes=False), rounds=3),
        Scenario("cpu w2", _burning(2, processes=False), rounds=3),
        Scenario("cpu processes", _burning(1, processes=True), rounds=3),
        Scenario("payload", _payloads, rounds=3),
        *(Scenario(f"backlog {size}", _backlog(size), limit=30 + FILL_LIMIT, rounds=1) for size in backlogs),
        Scenario("awaited", _awaited(awaited), limit=60, rounds=1),
    ]
