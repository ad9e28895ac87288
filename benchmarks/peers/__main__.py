"""``python -m benchmarks.peers``: measure taskserver and its peers side by side, and make the tables and plots."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status

from benchmarks.peers import record, report
from benchmarks.peers.environments import BENCH, ROOT, find_python
from benchmarks.peers.runner import Plan, Runner
from benchmarks.peers.systems import chosen
from taskserver.embedded import find_binary


@click.group()
def main() -> None:
    """Benchmark taskserver beside its peers."""


@main.command()
@click.option("--rounds", type=click.IntRange(1), help="Each figure is the median of so many. [default: 5; quick: 1]")
@click.option(
    "--server", help="A redis-server or valkey-server. [default: redis-server on PATH, else the embedded one]"
)
@click.option("--peers", help="Only these, separated by commas; taskserver and the floor are always there.")
@click.option("--only", default="", help="Only scenarios whose name contains one of these, separated by commas.")
@click.option("--quick", is_flag=True, help="Short measurements: does everything work?")
@click.option("--python", help="The interpreter for every system in Python. [default: 3.13, else the newest]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results. [default: under .bench/results]")
def run(
    rounds: int | None,
    server: str | None,
    peers: str | None,
    only: str,
    quick: bool,
    python: str | None,
    out: Path | None,
) -> None:
    """Measure, and write JSON, tables and plots."""
    try:
        systems = chosen(peers)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    folder = out or BENCH / "results" / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
    binary = server or shutil.which("redis-server") or str(find_binary())
    with Console(stderr=True).status("starting") as status:
        plan = Plan(
            systems,
            rounds or (1 if quick else 5),
            binary,
            python or find_python(),
            tuple(part for part in only.split(",") if part),
            quick,
            folder / "run.json",
            _saying(status),
        )
        done = asyncio.run(_run(plan))
    report.write(done, folder)
    click.echo((folder / "tables.md").read_text())
    click.echo(f"Results, tables and plots are in {folder}", err=True)


@main.command("report")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--publish", is_flag=True, help="Into docs/benchmarks.md, docs/assets and benchmarks/results.")
def report_command(files: tuple[Path, ...], publish: bool) -> None:
    """Make tables and plots anew from a run's JSON."""
    try:
        done = record.load(list(files))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if publish:
        report.publish(done, ROOT)
    else:
        report.write(done, files[0].parent)


async def _run(plan: Plan) -> record.Run:
    """Run the plan; SIGTERM ends what it started, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Runner(plan).run()


def _saying(status: Status) -> report.Say:
    """Progress: a changing line on a terminal, else lines."""
    if sys.stderr.isatty():
        return status.update
    return lambda text: click.echo(text, err=True)


if __name__ == "__main__":
    main()
