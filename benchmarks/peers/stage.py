"""One system on the stage: its processes on an emptied broker, and the measurements that scenarios are made of."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from benchmarks.peers.environments import Environment
from benchmarks.peers.processes import AdapterProcess, MeasurementFailed
from benchmarks.peers.systems import System
from benchmarks.server import Server, Work

Figures = dict[str, float]

MARK = 8
"""Bytes that one run leaves."""

LOOK = 0.004
"""Seconds between looks at how far the jobs are; small against what is measured, and cheap for a shared core."""

HEAD = 0.05
"""Part of the jobs that only warms up: connections, caches, the first batch."""


class OverTooSoon(MeasurementFailed):
    """There were too few jobs."""


class Moment(NamedTuple):
    """Where everything stands at one time."""

    time: float
    runs: int
    server: Work
    worker_cpu: float


class Fleet:
    """The worker processes of one measurement, which wait for ``go``."""

    def __init__(self, processes: list[AdapterProcess]) -> None:
        self._processes = processes

    def go(self) -> None:
        """Let them connect and work."""
        for process in self._processes:
            process.tell("go")

    def check(self) -> None:
        """Raise if one has ended by itself."""
        for process in self._processes:
            process.check()

    def cpu(self) -> float:
        """CPU seconds of all."""
        return sum(process.cpu() for process in self._processes)

    def rss(self) -> int:
        """Resident bytes of all."""
        return sum(process.rss() for process in self._processes)


class Stage:
    """One system, measured.

    Args:
        server: The broker that all share, one after another.
        system: What is measured.
        environment: Where it is installed.

    Attributes:
        jobs: How many jobs the running measurement waits for, and what was done of them: for messages about time-outs.
    """

    def __init__(self, server: Server, system: System, environment: Environment) -> None:
        self.server = server
        self.system = system
        self.jobs = 0
        self._environment = environment
        self._log = server.folder / f"{system.name}.log"
        self._runs = server.folder / f"{system.name}.runs"
        self._producer: AdapterProcess | None = None

    async def close(self) -> None:
        """End the producer; the next measurement starts another."""
        if self._producer:
            await self._producer.__aexit__()
            self._producer = None

    async def fresh(self) -> AdapterProcess:
        """An empty broker, nobody's marks, and a producer that has just connected."""
        if self._producer is None:
            self._producer = await AdapterProcess(self._command("producer"), self._variables(), self._log).__aenter__()
        else:
            await self._producer.ask(do="close")
        await self.server.empty()
        self._runs.write_bytes(b"")  # emptied, not replaced: the workers have it open
        await self._producer.ask(do="open")
        return self._producer

    @asynccontextmanager
    async def fleet(
        self, workers: int, concurrency: int, work: str = "noop", *, processes: bool = False
    ) -> AsyncIterator[Fleet]:
        """Worker processes that have imported everything and wait; killed at the end."""
        variables = {
            **self._variables(),
            "BENCH_CONCURRENCY": str(concurrency),
            "BENCH_WORK": work,
            "BENCH_PROCESSES": str(int(processes)),
        }
        async with AsyncExitStack() as stack:
            command = self._command("worker")
            started = [AdapterProcess(command, variables, self._log) for _ in range(workers)]
            yield Fleet(await asyncio.gather(*map(stack.enter_async_context, started)))

    async def submit(self, task: str, jobs: int, how: str = "fastest", value: Any = None) -> Figures:
        """Submit to an empty broker: jobs a second, and what one costs the producer and the server."""
        producer = await self.fresh()
        await producer.ask(do="submit", task=task, jobs=10, how=how, value=value)  # connections, scripts
        before, cpu = await self.server.work(), producer.cpu()
        answer = await producer.ask(do="submit", task=task, jobs=jobs, how=how, value=value)
        cpu, work = producer.cpu() - cpu, await self.server.work() - before
        return {"rate": jobs / answer["seconds"], "producer_us": cpu / jobs * 1e6, **_per_job(work, jobs)}

    async def drain(
        self,
        jobs: int,
        *,
        workers: int = 1,
        concurrency: int = 100,
        task: str = "noop",
        value: Any = None,
        measured: int | None = None,
        processes: bool = False,
    ) -> Figures:
        """Workers empty a full queue; jobs a second from when a part of them is done until all are settled.

        Args:
            jobs: How many.
            workers: Processes.
            concurrency: Slots of each.
            task: What the jobs do.
            value: Their argument; None for their number.
            measured: Stop after this many runs, with the rest still queued.
            processes: CPU-bound jobs run in processes.
        """
        async with self.fleet(workers, concurrency, task, processes=processes) as fleet:
            producer = await self.fresh()
            await producer.ask(do="submit", task=task, jobs=jobs, how="fastest", value=value)
            fleet.go()
            last = measured or jobs
            await self._reach(max(1, int(last * HEAD)), fleet)
            begin = await self._moment(fleet)
            await self._reach(last, fleet)
            if measured is None:
                await self.settled()
            end = await self._moment(fleet)
            done, seconds = end.runs - begin.runs, end.time - begin.time
            if done < last / 2:
                raise OverTooSoon(f"{last:,} jobs ended before they could be measured")
            figures = {"rate": done / seconds, "worker_us": (end.worker_cpu - begin.worker_cpu) / done * 1e6}
            return {**figures, **_per_job(end.server - begin.server, done), "rss_mb": fleet.rss() / 1e6}

    async def wait_for(self, jobs: int, fleet: Fleet) -> None:
        """Wait until that many jobs have run and the broker holds none unfinished."""
        await self._reach(jobs, fleet)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the broker holds no unfinished job."""
        while sum([await self.server.number(command) for command in self.system.unfinished]):
            await asyncio.sleep(LOOK)

    @property
    def runs(self) -> int:
        """How many jobs have run."""
        try:
            return self._runs.stat().st_size // MARK
        except FileNotFoundError:
            return 0

    def delays(self) -> list[float]:
        """Seconds after their due time at which the ``stamp`` jobs began."""
        data = self._runs.read_bytes()
        return [nanoseconds / 1e9 for (nanoseconds,) in struct.iter_unpack("<q", data)]

    async def _reach(self, jobs: int, fleet: Fleet) -> None:
        self.jobs = jobs
        while self.runs < jobs:
            fleet.check()
            await asyncio.sleep(LOOK)

    async def _moment(self, fleet: Fleet) -> Moment:
        now, runs = time.perf_counter(), self.runs
        return Moment(now, runs, await self.server.work(), fleet.cpu())

    def _command(self, role: str) -> list[str]:
        return self._environment.command(self.system, role)

    def _variables(self) -> dict[str, str]:
        return {
            "BENCH_URL": self.server.url,
            "BENCH_RUNS": str(self._runs),
            "BENCH_ENV": str(self._environment.folder),
            "TASKSERVER_HOME": str(self.server.folder),
        }


def _per_job(work: Work, jobs: int) -> Figures:
    return {
        "server_us": work.cpu / jobs * 1e6,
        "round_trips": work.reads / jobs,
        "commands": work.commands / jobs,
        "bytes": work.traffic / jobs,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["Figures", "Fleet", "OverTooSoon", "Stage", "cores"]
