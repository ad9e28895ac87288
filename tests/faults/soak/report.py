"""The report of a soak: figures, as a table for people and as JSON, and every breach with its lines of the ledger."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.soak import ledger
from tests.faults.soak.check import Breach

SHOWN = 20
"""Breaches that are shown in full; the JSON has all of them."""


@dataclass
class Report:
    """What one soak on one broker came to. Times are seconds, unless they say leases."""

    broker: str
    server: str
    seed: int
    minutes: float
    acknowledged: int = 0
    submits_that_raised: int = 0
    jobs: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    broker_restarts: int = 0
    workers_started: int = 0
    producers_started: int = 0
    worker_exits: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    lost_by_the_broker: int = 0
    ends_undone_by_the_broker: int = 0
    run_again: dict[str, int] = field(default_factory=dict)
    ended_twice: int = 0
    leases_until_taken_over_undisturbed: dict[str, float] = field(default_factory=dict)
    leases_until_taken_over: dict[str, float] = field(default_factory=dict)
    taken_over_after_two_leases: dict[str, int] = field(default_factory=dict)
    late_takeovers: list[str] = field(default_factory=list)
    until_a_job_ended_after_the_brokers_return: dict[str, float] = field(default_factory=dict)
    drained_in: float = 0.0
    breaches: list[Breach] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain data."""
        return {**asdict(self), "breaches": [breach._asdict() for breach in self.breaches]}


def spread(values: Iterable[float]) -> dict[str, float]:
    """Of some measurements: how many, their median and the longest; nothing of none."""
    values = sorted(values)
    if not values:
        return {}
    return {"count": len(values), "p50": round(statistics.median(values), 2), "max": round(values[-1], 2)}


def show(reports: list[Report], console: Console) -> None:
    """A table with one column for each soak."""
    table = Table(title="soak", show_lines=False)
    table.add_column("")
    for report in reports:
        table.add_column(f"{report.server}", justify="right")
    columns = [_flat(report) for report in reports]
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(str(column.get(name, "")) for column in columns))
    console.print(table)


def show_breaches(report: Report, path: Path, console: Console) -> None:
    """Each breach with what the ledger says of its job."""
    wanted = {breach.job for breach in report.breaches[:SHOWN]}
    lines: dict[str, list[str]] = {job: [] for job in wanted}
    for line in ledger.read(path):
        if line.get("job") in wanted:
            lines[line["job"]].append(json.dumps(line))
    for breach in report.breaches[:SHOWN]:
        console.print(f"{breach.rule} {breach.job}: {breach.what}", markup=False, highlight=False, soft_wrap=True)
        for text in lines.get(breach.job, ()):
            console.print(f"    {text}", markup=False, highlight=False, soft_wrap=True)
    if len(report.breaches) > SHOWN:
        console.print(f"and {len(report.breaches) - SHOWN} more: --json FILE has all of them")


def _flat(report: Report) -> dict[str, Any]:
    """One row each; what is counted by name gets a row for each name."""
    rows: dict[str, Any] = {}
    for name, value in report.as_json().items():
        label = name.replace("_", " ").replace("brokers return", "broker's return")
        if name in ("server", "skipped", "late_takeovers"):
            continue
        if name == "breaches":
            rows["invariants broken"] = dict(Counter(breach.rule for breach in report.breaches)) or "none"
        elif isinstance(value, dict):
            rows.update({f"{label}: {key}": count for key, count in value.items()})
        else:
            rows[label] = f"{value:,}" if isinstance(value, int) and name != "seed" else value
    rows.update({f"skipped: {name}": why for name, why in report.skipped.items()})
    return rows
