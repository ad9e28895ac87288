"""``python -m benchmarks.scaling``: what replicas, partitions and masters bring here, and what that means at scale.

Each setting drains a full queue: so many jobs are submitted while the queue is paused, the workers start, and the clock
runs from when it is resumed until nothing is left. Masters, workers and this program share the machine: where its
cores are busy, more of anything brings nothing, and the cost of a job tells what more cores would bring.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import uvloop
from rich.console import Console
from rich.progress import Progress

from benchmarks.charts import Bar, Row, bars
from benchmarks.masters import Masters
from benchmarks.scaling_report import markdown, publish
from benchmarks.worker import WorkerProcess
from taskserver import Client
from taskserver.store.jobs import admin
from taskserver.store.maintenance.partitioning import grow
from taskserver.store.queries import partitions, queues

QUEUE = "bench"
PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
PLOT = PAGE.parent / "assets" / "scaling.svg"


class Setting(NamedTuple):
    """What is measured.

    Attributes:
        label: What people read.
        tool: What the jobs run.
        share: Jobs of it, as a part of those that were asked for.
        slots: Of each replica.
        replicas: Worker processes.
        partitions: Of the queue.
        masters: Of the cluster; 0 for a single server.
    """

    label: str
    tool: str = "noop"
    share: float = 1.0
    slots: int = 100
    replicas: int = 2
    partitions: int = 1
    masters: int = 0


SETTINGS = (
    *(Setting(f"waits 10 ms, 10 slots, replicas {n}", "pause", n / 10, 10, n) for n in (1, 2, 4)),
    *(Setting(f"does nothing, replicas {n}", replicas=n) for n in (1, 2, 4)),
    *(Setting(f"does nothing, partitions {n}", partitions=n) for n in (2, 4)),
    *(Setting(f"does nothing, masters {n}", partitions=6, masters=n) for n in (1, 3)),
)


class Measured(NamedTuple):
    """One drain; costs are per job, in microseconds of CPU or bytes.

    Attributes:
        rate: Jobs a second.
        worker_us: Of all workers.
        server_us: Of all masters, for claiming and finishing.
        submit_us: Of all masters, for submitting.
        queued_bytes: That a waiting job takes.
        ended_bytes: That an ended job takes, as long as its result is kept.
        connections: Of each worker.
    """

    rate: float
    worker_us: float
    server_us: float
    submit_us: float
    queued_bytes: float
    ended_bytes: float
    connections: float


@click.command()
@click.option("--jobs", default=20_000, show_default=True, help="Jobs of each drain.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; each figure is their median.")
@click.option("--server", "binary", help="A redis-server or valkey-server to measure with; else the embedded one.")
@click.option("--output", default=".bench/scaling", show_default=True, help="Folder for scaling.json and scaling.svg.")
@click.option("--publish", "put", is_flag=True, help="Put figures, arithmetic and plot into docs/scaling.md too.")
def main(jobs: int, rounds: int, binary: str | None, output: str, put: bool) -> None:
    """Measure what more replicas, partitions and masters bring on this machine: about four minutes."""
    run = uvloop.run(_measure(jobs, rounds, binary))
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    plot = _plot(run)
    (folder / "scaling.json").write_text(json.dumps(run, indent=2) + "\n")
    (folder / "scaling.svg").write_text(plot)
    click.echo(markdown(run))
    if put:
        PLOT.write_text(plot)
        publish(run, PAGE)
    click.echo(f"written to {folder}{' and docs/scaling.md' if put else ''}", err=True)


async def _measure(jobs: int, rounds: int, binary: str | None) -> dict[str, Any]:
    """Rounds are interleaved, so that a slow minute of the machine touches every setting alike."""
    found: dict[str, list[Measured]] = {setting.label: [] for setting in SETTINGS}
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("measuring", total=rounds * len(SETTINGS))
        for _ in range(rounds):
            for setting in SETTINGS:
                progress.update(bar, description=setting.label)
                found[setting.label].append(await measure(setting, max(200, round(jobs * setting.share)), binary))
                progress.advance(bar)
    async with Masters(binary, 0) as masters:
        product = await masters.servers[0].product()
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "server": product,
        "jobs": jobs,
        "rounds": rounds,
        "settings": {setting.label: setting._asdict() | _summary(found[setting.label]) for setting in SETTINGS},
    }


async def measure(setting: Setting, jobs: int, binary: str | None) -> Measured:
    """Fill a queue, start the workers, and drain it."""
    async with Masters(binary, setting.masters) as masters, AsyncExitStack() as workers:
        broker = masters.broker
        await grow(broker, QUEUE, setting.partitions)
        parts = await partitions.expand(broker, QUEUE)
        empty, before = await masters.memory(), await masters.work()
        async with Client(broker.url, queue=QUEUE) as client:
            await client.submit_many([(setting.tool, {"number": number}) for number in range(jobs)])
        submitted = await masters.work() - before
        queued = await masters.memory() - empty
        for part in parts:
            await admin.pause(broker, part)
        clients = await masters.clients()
        hired = [
            await workers.enter_async_context(WorkerProcess(broker, QUEUE, setting.slots, nth=nth))
            for nth in range(1, setting.replicas + 1)
        ]
        await asyncio.sleep(1.0)  # every service has connected
        connections = (await masters.clients() - clients) / setting.replicas
        before, cpu, start = await masters.work(), sum(worker.cpu() for worker in hired), time.perf_counter()
        await asyncio.gather(*(admin.resume(broker, part) for part in parts))
        while await _left(masters, parts):
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - start
        done, cpu = await masters.work() - before, sum(worker.cpu() for worker in hired) - cpu
        await workers.aclose()
        ended = await masters.memory() - empty
    return Measured(
        rate=jobs / seconds,
        worker_us=cpu / jobs * 1e6,
        server_us=done.cpu / jobs * 1e6,
        submit_us=submitted.cpu / jobs * 1e6,
        queued_bytes=queued / jobs,
        ended_bytes=ended / jobs,
        connections=connections,
    )


async def _left(masters: Masters, parts: list[str]) -> bool:
    info = await queues.combined_info(masters.broker, QUEUE, parts)
    return bool(sum(info.ready.values()) + info.running)


def _summary(found: list[Measured]) -> dict[str, float]:
    medians = {name: statistics.median(getattr(each, name) for each in found) for name in Measured._fields}
    rates = [each.rate for each in found]
    return {**medians, "least": min(rates), "most": max(rates)}


def _plot(run: dict[str, Any]) -> str:
    rows = [
        Row(label, [Bar(each["rate"], each["least"], each["most"])], ours=each["masters"] != 1)
        for label, each in run["settings"].items()
    ]
    return bars(f"Draining a queue, {run['machine']}", "jobs a second", rows)


if __name__ == "__main__":
    main()
