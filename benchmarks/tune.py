"""``python -m benchmarks.tune``: which concurrency, and how many worker processes, suit your tool on this machine.

For each setting, worker processes run the tool while a client keeps them busy: half as many jobs again as there are
slots are on their way all the time. Throughput is results a second; the tool's own time is from the beginning of an
attempt to its end, by the broker's clock, which shows when slots get in each other's way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.charts import Curve, lines
from benchmarks.server import Server
from benchmarks.worker import WorkerProcess
from taskserver import Client, JobFailed

QUEUE = "tune"
ENOUGH = 0.9
"""A setting is as good as the best if it has this part of its throughput."""


class Setting(NamedTuple):
    """What a deployment chooses."""

    replicas: int
    concurrency: int


class Measured(NamedTuple):
    """What a setting gave: results a second, the tool's own time in milliseconds, CPU of the workers in cores."""

    setting: Setting
    rate: float
    p50: float
    p99: float
    cores: float


class Load:
    """Keeps workers busy with one call, over and over."""

    def __init__(self, client: Client, tool: str, args: dict[str, Any]) -> None:
        self._client = client
        self._tool = tool
        self._args = args
        self.done = 0
        self.jobs: list[str] = []

    async def keep(self) -> None:
        """Submit and await, for ever."""
        while True:
            job = await self._client.submit(self._tool, self._args, max_retries=0)
            await job.result(timeout=3600)
            self.done += 1
            self.jobs.append(job.id)

    async def times(self, most: int = 1000) -> list[float]:
        """Milliseconds that the last jobs' attempts took, in order of length."""
        states = [await self._client.job(job).status() for job in self.jobs[-most:]]
        return sorted((s.ended_at - s.started_at) * 1000 for s in states if s.ended_at and s.started_at)


async def measure(server: Server, setting: Setting, tool: str, args: dict[str, Any], seconds: float) -> Measured:
    """Run one setting: a third of the time to warm up, the rest to count."""
    module, _, name = tool.partition(":")
    await server.empty()
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                WorkerProcess(server.broker, QUEUE, setting.concurrency, tools=module, nth=number + 1)
            )
            for number in range(setting.replicas)
        ]
        client = await stack.enter_async_context(Client(server.url, queue=QUEUE))
        load = Load(client, name, args)
        slots = setting.replicas * setting.concurrency
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(load.keep()) for _ in range(slots + (slots + 1) // 2)]
            await asyncio.sleep(seconds / 3)
            while not load.done:  # a tool that takes longer than that
                await asyncio.sleep(0.1)
            load.jobs.clear()
            begin, done, cpu = time.perf_counter(), load.done, sum(worker.cpu() for worker in workers)
            while time.perf_counter() - begin < seconds or not load.jobs:
                await asyncio.sleep(0.05)
            passed, done = time.perf_counter() - begin, load.done - done
            cpu = sum(worker.cpu() for worker in workers) - cpu
            for task in tasks:
                task.cancel()
        times = await load.times()
    return Measured(setting, done / passed, _at(times, 0.5), _at(times, 0.99), cpu / passed)


def choose(found: Sequence[Measured]) -> tuple[Measured, str]:
    """The setting to take, and why: of those as fast as the best the one with the quickest tool, then the smallest."""
    best = max(found, key=lambda each: each.rate)
    good = [each for each in found if each.rate >= ENOUGH * best.rate]
    taken = min(good, key=lambda each: (round(each.p99, 1), each.setting.replicas, each.setting.concurrency))
    processes = f"{taken.setting.replicas} worker process{'es' * (taken.setting.replicas > 1)}"
    why = (
        f"Take {processes} with concurrency {taken.setting.concurrency}: {taken.rate:,.0f} jobs/s, "
        f"{taken.rate / best.rate:.0%} of the most that was seen, and of the settings that fast the one in which the "
        f"tool itself takes least: p99 {taken.p99:,.1f} ms."
    )
    if best is not taken:
        more = f"{best.setting.replicas} with concurrency {best.setting.concurrency}"
        why += f" {more} gave {best.rate:,.0f} jobs/s, with a p99 of {best.p99:,.1f} ms."
    if taken.setting.concurrency == max(each.setting.concurrency for each in found):
        why += " It is the largest that was tried: try larger ones with --concurrency."
    return taken, why


def plot(found: Sequence[Measured], tool: str) -> tuple[str, str]:
    """Throughput, and p99 of the tool's own time, against concurrency; a curve for each number of processes."""
    replicas = sorted({each.setting.replicas for each in found})

    def curves(figure: str) -> list[Curve]:
        return [
            Curve(
                f"{number} process{'es' * (number > 1)}",
                [
                    (each.setting.concurrency, getattr(each, figure))
                    for each in found
                    if each.setting.replicas == number
                ],
            )
            for number in replicas
        ]

    return (
        lines(f"{tool}: throughput", "concurrency of each worker", "jobs/s", curves("rate")),
        lines(f"{tool}: the tool's own time, p99", "concurrency of each worker", "ms", curves("p99")),
    )


def _at(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def _numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers: write 1,4,16") from None
    if numbers[0] < 1:
        raise click.BadParameter(f"{numbers[0]} is less than 1")
    return numbers


def _arguments(_: click.Context, __: click.Parameter, text: str) -> dict[str, Any]:
    try:
        args = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}") from None
    if not isinstance(args, dict):
        raise click.BadParameter("must be a JSON object with the tool's arguments by name")
    return args


@click.command()
@click.option("--tool", required=True, metavar="MODULE:TOOL", help="The tool to run; it is really run, many times.")
@click.option("--args", default="{}", callback=_arguments, help="Its arguments, a JSON object.")
@click.option("--concurrency", default="1,4,16,64,256", show_default=True, callback=_numbers, help="Slots to try.")
@click.option("--replicas", default="1,2", show_default=True, callback=_numbers, help="Worker processes to try.")
@click.option("--seconds", default=3.0, show_default=True, help="How long each setting is measured.")
@click.option("--server", "binary", help="A redis-server or valkey-server to measure with; else the embedded one.")
@click.option("--svg", default="tune", show_default=True, help="Plots are SVG-rate.svg and SVG-p99.svg of this name.")
def main(
    tool: str,
    args: dict[str, Any],
    concurrency: tuple[int, ...],
    replicas: tuple[int, ...],
    seconds: float,
    binary: str | None,
    svg: str,
) -> None:
    """Find the concurrency and the number of worker processes that suit a tool on this machine."""
    if ":" not in tool:
        raise click.UsageError(f"--tool {tool!r} names no tool: write MODULE:TOOL, as in my_agent.tools:summarize")
    settings = [Setting(number, slots) for number in replicas for slots in concurrency]
    try:
        found = uvloop.run(_measure_all(settings, tool, args, seconds, binary))
    except* (JobFailed, RuntimeError) as errors:
        raise click.ClickException(f"the tool cannot be measured: {errors.exceptions[0]}") from None
    _show(found, tool)
    for name, drawing in zip(("rate", "p99"), plot(found, tool), strict=True):
        Path(f"{svg}-{name}.svg").write_text(drawing)
    click.echo(f"\n{choose(found)[1]}\nPlots: {svg}-rate.svg, {svg}-p99.svg")


async def _measure_all(
    settings: Sequence[Setting], tool: str, args: dict[str, Any], seconds: float, binary: str | None
) -> list[Measured]:
    found = []
    async with Server(binary) as server:
        for setting in settings:
            click.echo(f"{setting.replicas} processes, concurrency {setting.concurrency} …", err=True)
            found.append(await measure(server, setting, tool, args, seconds))
    return found


def _show(found: Sequence[Measured], tool: str) -> None:
    table = Table(title=tool)
    for column in ("processes", "concurrency", "jobs/s", "tool p50 ms", "tool p99 ms", "worker CPU, cores"):
        table.add_column(column, justify="right")
    taken, _ = choose(found)
    for each in found:
        row = (
            *map(str, each.setting),
            f"{each.rate:,.0f}",
            f"{each.p50:,.1f}",
            f"{each.p99:,.1f}",
            f"{each.cores:.2f}",
        )
        table.add_row(*row, style="bold" if each is taken else "")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
