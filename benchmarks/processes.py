"""``python -m benchmarks.processes``: what it costs to run a tool in a process, and what it spares the event loop.

Three questions: the time of a job that does nothing, run each way; how late the worker's event loop is while every core
is busy; and how many CPU-bound jobs a second threads and processes get done.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import click
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import heavy
from benchmarks.server import Server
from taskserver import Client
from taskserver.testing import running_worker

EMPTY: dict[str, Callable[..., object]] = {
    "on the event loop": heavy.nothing,
    "in a thread": heavy.nothing_thread,
    "in a process": heavy.nothing_process,
}
BUSY: dict[str, Callable[..., object]] = {"threads": heavy.count_thread, "processes": heavy.count_process}
TICK = 0.001
SETTLE = 3.0
"""Seconds after the first jobs: processes that begin to start with them are ready by then."""


class Lag(NamedTuple):
    """How late a timer of the event loop rang, in milliseconds."""

    median: float
    p99: float
    most: float


@click.command()
@click.option("--jobs", default=2_000, show_default=True, help="Jobs of each kind that does nothing.")
@click.option("--seconds", default=10.0, show_default=True, help="How long each CPU-bound measurement takes, about.")
def main(jobs: int, seconds: float) -> None:
    """Measure tools in processes here."""
    uvloop.run(_measure(jobs, seconds))


async def _measure(jobs: int, seconds: float) -> None:
    console, cores = Console(), os.cpu_count() or 1
    console.print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    async with Server(None) as server:
        table = Table("a job that does nothing", "one after the other, µs a job", "4 slots, µs a job")
        for name, tool in EMPTY.items():
            table.add_row(name, *[f"{await _overhead(server, tool, jobs, slots):.0f}" for slots in (1, 4)])
        console.print(table)
        table = Table("CPU-bound jobs", "slots", "jobs/s", "lag p50, ms", "p99", "most")
        idle = await _lag_of(asyncio.sleep(seconds / 2))
        table.add_row("none", "-", "-", *(f"{each:.2f}" for each in idle))
        for name, tool in BUSY.items():
            for slots in sorted({1, cores, 2 * cores}):
                rate, lag = await _busy(server, tool, slots, seconds)
                table.add_row(name, str(slots), f"{rate:.1f}", *(f"{each:.2f}" for each in lag))
        console.print(table)


async def _overhead(server: Server, tool: Callable[..., object], jobs: int, slots: int) -> float:
    """Microseconds from the first submit to the last result, by the number of jobs."""
    await server.empty()
    jobs = jobs if slots > 1 else jobs // 4
    async with running_worker(tool, url=server.url, concurrency=slots), Client(server.url) as client:
        await asyncio.gather(*[job.result() for job in await client.submit_many([(tool, {})] * (4 * slots))])
        await asyncio.sleep(SETTLE)
        start = time.perf_counter()
        if slots == 1:
            for _ in range(jobs):
                await (await client.submit(tool)).result()
        else:
            await asyncio.gather(*[job.result() for job in await client.submit_many([(tool, {})] * jobs)])
        return (time.perf_counter() - start) / jobs * 1e6


async def _busy(server: Server, tool: Callable[..., object], slots: int, seconds: float) -> tuple[float, Lag]:
    """Jobs a second with so many slots, and the lag of the worker's event loop meanwhile."""
    await server.empty()
    async with running_worker(tool, url=server.url, concurrency=slots), Client(server.url) as client:
        warm = await client.submit_many([(tool, {})] * (2 * slots))
        start = time.perf_counter()
        await asyncio.gather(*[job.result() for job in warm])
        jobs = max(2 * slots, round(seconds / (time.perf_counter() - start) * 2 * slots))
        many = await client.submit_many([(tool, {})] * jobs)
        start = time.perf_counter()
        lag = await _lag_of(asyncio.gather(*[job.result() for job in many]))
        return jobs / (time.perf_counter() - start), lag


async def _lag_of(what: Awaitable[object]) -> Lag:
    """How late the event loop is until ``what`` is done."""
    work, late = asyncio.ensure_future(what), []
    while not work.done():
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append((time.perf_counter() - due) * 1000)
    await work
    return Lag(statistics.median(late), statistics.quantiles(late, n=100)[98], max(late))


if __name__ == "__main__":
    main()
