"""What ``benchmarks.scaling`` says: its figures, and the arithmetic from them to a hundred million jobs a day."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

BEGIN = "<!-- begin: made by python -m benchmarks.scaling --publish -->"
END = "<!-- end -->"

JOBS_A_DAY = 100_000_000
PEAK = 5
"""How much more than the mean comes in the busiest minutes."""
BUSY = 0.5
"""Of a master's core that is used at the peak: the rest is for bursts, failovers, and what writes its files."""
JOB_SECONDS = 2.0
SLOTS = 100
OUTAGE_HOURS = 1
RESULT_HOURS = (24, 1)


def markdown(run: dict[str, Any]) -> str:
    """The table and the arithmetic."""
    return f"{_table(run)}\n\n![Jobs a second by setting](assets/scaling.svg)\n\n{_arithmetic(run)}"


def publish(run: dict[str, Any], page: Path) -> None:
    """Put both into the page, replacing those of an earlier run."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{markdown(run)}\n{END}{after}")


def _table(run: dict[str, Any]) -> str:
    head = (
        f"Medians of {run['rounds']} rounds of up to {run['jobs']:,} jobs, {run['server']}, Python {run['python']}, "
        f"{run['machine']}, {run['taken'][:10]}.\n\n"
        "| jobs and setting | partitions | jobs/s | range | worker CPU per job | master CPU per job "
        "| connections per worker |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {label} | {each['partitions']} | {each['rate']:,.0f} | {each['least']:,.0f} … {each['most']:,.0f} "
        f"| {each['worker_us']:.0f} µs | {each['server_us']:.0f} µs | {each['connections']:.0f} |"
        for label, each in run["settings"].items()
    )


def _arithmetic(run: dict[str, Any]) -> str:
    settings = run["settings"].values()
    whole = next(each for each in settings if each["masters"] == 3)
    cost = whole["server_us"] + whole["submit_us"]
    mean = JOBS_A_DAY / 86_400
    peak = PEAK * mean
    cores = peak * cost / 1e6
    masters = math.ceil(cores / BUSY)
    replicas = math.ceil(peak * JOB_SECONDS / SLOTS)
    waiting = OUTAGE_HOURS * 3600 * peak * whole["queued_bytes"] / 1e9
    results = [hours / 24 * JOBS_A_DAY * whole["ended_bytes"] / 1e9 for hours in RESULT_HOURS]
    rows = (
        ("jobs", "a hundred million a day", f"{mean:,.0f} a second"),
        ("peak", f"{PEAK} times the mean", f"{peak:,.0f} a second"),
        (
            "master CPU",
            f"{whole['submit_us']:.0f} µs to submit + {whole['server_us']:.0f} µs to run a job, on three masters",
            f"{cores:.2f} cores at the peak",
        ),
        ("masters", f"each busy to {BUSY:.0%} at the peak", f"{masters} for CPU; 3 to survive one"),
        ("slots", f"jobs that take {JOB_SECONDS:g} s on average", f"{peak * JOB_SECONDS:,.0f}"),
        ("replicas", f"{SLOTS} slots each", f"{replicas}"),
        (
            "connections",
            f"{whole['connections']:.0f} a worker with {whole['partitions']} partitions on three masters",
            f"{replicas * whole['connections']:,.0f}, of 10,000 that each master allows",
        ),
        (
            "backlog",
            f"{OUTAGE_HOURS} h of peak without workers times {whole['queued_bytes']:,.0f} bytes",
            f"{waiting:,.1f} GB",
        ),
        *(
            ("results", f"kept for {hours} h times {whole['ended_bytes']:,.0f} bytes", f"{size:,.1f} GB")
            for hours, size in zip(RESULT_HOURS, results, strict=True)
        ),
    )
    return "| quantity | derived from | result |\n|---|---|---|\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)
