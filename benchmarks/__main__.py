"""``python -m benchmarks``: measure this checkout, print a table, and compare with the last run on this machine."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.scenarios import SCENARIOS, Figure
from benchmarks.server import Server

LAST = Path(__file__).parent / "results" / "last.json"


@click.command()
@click.option("--jobs", default=20_000, show_default=True, help="Jobs per scenario.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; each figure is their median.")
@click.option("--server", "binary", help="A redis-server or valkey-server to measure with; else the embedded one.")
@click.option("--only", help="Scenarios whose name contains this.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(jobs: int, rounds: int, binary: str | None, only: str | None, as_json: bool) -> None:
    """Measure how fast taskserver is here."""
    names = [name for name in SCENARIOS if not only or only in name]
    run = uvloop.run(_measure(names, jobs, rounds, binary))
    last = json.loads(LAST.read_text()) if LAST.exists() else None
    if as_json:
        click.echo(json.dumps(run, indent=2))
    else:
        _show(run, last)
    if not only:
        LAST.parent.mkdir(exist_ok=True)
        LAST.write_text(json.dumps(run, indent=2))


async def _measure(names: list[str], jobs: int, rounds: int, binary: str | None) -> dict[str, Any]:
    """Rounds are interleaved, so that a slow minute of the machine touches every scenario alike."""
    figures: dict[str, list[Figure]] = {name: [] for name in names}
    async with Server(binary) as server:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task("measuring", total=rounds * len(names))
            for _ in range(rounds):
                for name in names:
                    progress.update(bar, description=name)
                    figures[name].append(await SCENARIOS[name][1](server, jobs))
                    progress.advance(bar)
        product = await server.product()
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "server": product,
        "jobs": jobs,
        "rounds": rounds,
        "figures": {name: _summary(SCENARIOS[name][0], figures[name]) for name in names},
    }


def _summary(unit: str, figures: list[Figure]) -> dict[str, Any]:
    medians = {field: _median([getattr(figure, field) for figure in figures]) for field in Figure._fields}
    values = [figure.value for figure in figures]
    return {"unit": unit, **medians, "least": min(values), "most": max(values)}


def _median(values: list[float]) -> float | None:
    """The median; None where the scenario does not measure this."""
    median = statistics.median(values)
    return None if math.isnan(median) else median


def _show(run: dict[str, Any], last: dict[str, Any] | None) -> None:
    title = f"taskserver on {run['server']}, Python {run['python']}, {run['machine']}; medians of {run['rounds']}"
    table = Table(title=title, caption=f"compared with the run of {last['taken']}" if last else None)
    for column in ("scenario", "", "from … to", "worker µs", "server µs", "round trips", "commands", "before"):
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for name, figure in run["figures"].items():
        before = (last or {}).get("figures", {}).get(name)
        table.add_row(
            name,
            f"{figure['value']:,.{_digits(figure)}f} {figure['unit']}",
            f"{figure['least']:,.{_digits(figure)}f} … {figure['most']:,.{_digits(figure)}f}",
            *(_cell(figure[field]) for field in ("worker_us", "server_us", "round_trips", "commands")),
            f"{figure['value'] / before['value']:.2f} x" if before else "",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _digits(figure: dict[str, Any]) -> int:
    return 2 if figure["unit"] == "ms" else 0


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
