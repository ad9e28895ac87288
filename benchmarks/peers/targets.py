"""The targets of taskserver beside what a run has measured: reached or missed."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.charts import number
from benchmarks.peers import record
from benchmarks.peers.record import Run

OURS = "taskserver"
PURE = ("saq", "taskiq", "arq", "docket", "streaq")
"""The asyncio systems without a native core."""
PEERS = ("ardiq", "bullmq", "tarsk", *PURE, "dramatiq", "celery", "rq")


class Figure(NamedTuple):
    """One figure of one scenario, of the best of some systems."""

    systems: tuple[str, ...]
    scenario: str
    name: str = "rate"


class Target(NamedTuple):
    """A figure of ours against another: at least, or at most, so many times as large."""

    about: str
    ours: Figure
    against: Figure
    times: float
    at_least: bool = True


def _target(
    about: str,
    scenario: str,
    systems: tuple[str, ...],
    times: float,
    name: str = "rate",
    *,
    at_least: bool = True,
    against: tuple[str, str] | None = None,
) -> Target:
    other = Figure(systems, *(against or (scenario, name)))
    return Target(about, Figure((OURS,), scenario, name), other, times, at_least)


TARGETS = (
    _target("drain, concurrency 100", "drain c100 w1", ("ardiq",), 3),
    _target("drain, concurrency 100", "drain c100 w1", ("bullmq",), 2.5),
    _target("drain, concurrency 100", "drain c100 w1", PURE, 15),
    _target("drain, concurrency 100", "drain c100 w1", ("floor",), 0.7),
    _target("drain, concurrency 10", "drain c10 w1", ("ardiq",), 3),
    _target("100 ms jobs, jobs/s of the ideal", "wait 100 ms w1", (OURS,), 0.98, against=("wait 100 ms w1", "ideal")),
    _target("submit gathered", "submit gathered", ("ardiq",), 2),
    _target("submit batched", "submit batched", ("ardiq",), 1.2),
    _target("submit one by one", "submit one by one", ("ardiq",), 1.2),
    _target("submit to result, p50", "latency", PEERS, 0.6, "p50", at_least=False),
    _target("submit to result, p99", "latency", PEERS, 1, "p99", at_least=False),
    _target("200 jobs/s, p99", "open loop 200/s", PEERS, 1, "p99", at_least=False),
    _target("1,000 jobs/s, p99", "open loop 1000/s", PEERS, 1, "p99", at_least=False),
    _target("server CPU µs per job", "drain c100 w1", ("ardiq",), 0.6, "server_us", at_least=False),
    _target("broker MB, queued", "memory", ("ardiq",), 1.4, "queued_mb", at_least=False),
    _target("broker MB, left", "memory", ("ardiq",), 0.6, "left_mb", at_least=False),
    _target("backlog of 1,000,000, of 1,000", "backlog 1000000", (OURS,), 1 / 1.15, against=("backlog 1000", "rate")),
    _target("CPU-bound jobs, 2 workers of 1", "cpu w2", (OURS,), 1.3, against=("cpu w1", "rate")),
)


def table(run: Run) -> str:
    """Each target that this run has figures for, as Markdown; empty if it has none."""
    rows = [row for target in TARGETS if (row := _row(run, target))]
    if not rows:
        return ""
    head = "| taskserver | target | measured | |\n|---|---|---|---|"
    return f"### Targets\n\nRatios of medians.\n\n{head}\n" + "\n".join(rows)


def _row(run: Run, target: Target) -> str:
    ours, other = _best(run, target.ours, target.at_least), _best(run, target.against, target.at_least)
    if ours is None or other is None or not other[1]:
        return ""
    ratio = ours[1] / other[1]
    reached = ratio >= target.times if target.at_least else ratio <= target.times
    sign = "≥" if target.at_least else "≤"
    whom = f"of {other[0]}'s" if other[0] != OURS else ""
    measured = f"{ratio:.2f} ({number(ours[1])} and {number(other[1])})"
    verdict = "reached" if reached else "**missed**"
    return f"| {target.about} | {sign} {target.times:.2g} {whom} | {measured} | {verdict} |"


def _best(run: Run, figure: Figure, more: bool) -> tuple[str, float] | None:
    """The best of the systems, and its figure."""
    known = {
        system: value
        for system in figure.systems
        if (value := record.median(run, system, figure.scenario, figure.name)) is not None
    }
    if not known:
        return None
    best = (max if more else min)(known, key=lambda system: known[system])
    return best, known[best]
