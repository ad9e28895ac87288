"""Which figures stand in which table. Every scenario that ran is in one of them, whoever is ahead."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column: a figure of a scenario.

    Attributes:
        title: Its head.
        scenario: Of which scenario.
        figure: Which of its figures.
        more: Whether more is better; None where neither is.
        floor: Whether it makes sense for the floor.
    """

    title: str
    scenario: str
    figure: str = "rate"
    more: bool | None = True
    floor: bool = False


class Table(NamedTuple):
    """A table of all systems."""

    title: str
    about: str
    columns: tuple[Column, ...]


def _times(scenario: str, *parts: str) -> tuple[Column, ...]:
    names = {"p50": "p50", "p95": "p95", "p99": "p99", "p999": "p99.9"}
    return tuple(Column(names[part], scenario, part, more=False) for part in parts)


def _open_loop(title: str, scenario: str) -> Table:
    about = {
        "open loop 200/s": "Milliseconds from when a job was due to when it began, at 200 jobs a second, one worker.",
        "open loop 1000/s": "The same at 1,000 jobs a second: more than some can run at all, which shows as seconds.",
        "open loop 70 %": "The same, each at 70 % of the rate at which it drained by itself before the rounds; here "
        "the producer needs its share of the cores too. Rates differ, so the rows do not compete.",
    }[scenario]
    arrivals = Column("arrivals/s", scenario, "arrivals", more=None)
    times = _times(scenario, "p50", "p99", "p999")
    if scenario == "open loop 70 %":  # each at its own rate: nobody is ahead
        times = tuple(column._replace(more=None) for column in times)
    return Table(title, about, (arrivals, *times))


TABLES = (
    Table(
        "Submit",
        "Jobs a second from one producer. *Gathered*: a hundred submits at a time with the language's gather.",
        (
            Column("one by one", "submit one by one", floor=True),
            Column("gathered by 100", "submit gathered"),
            Column("batched", "submit batched", floor=True),
            Column("CPU µs per job, one by one", "submit one by one", "producer_us", more=False),
            Column("CPU µs per job, gathered", "submit gathered", "producer_us", more=False),
        ),
    ),
    Table(
        "Drain",
        "No-op jobs a second out of a full queue, until their results are stored.",
        tuple(
            Column(
                f"{workers} worker{'s' * (workers > 1)}, concurrency {slots}", f"drain c{slots} w{workers}", floor=True
            )
            for workers in (1, 2)
            for slots in (10, 100)
        ),
    ),
    Table(
        "Cost of a job",
        "While draining no-op jobs with one worker at concurrency 100. Commands inside scripts count.",
        tuple(
            Column(title, "drain c100 w1", figure, more=False, floor=True)
            for title, figure in (
                ("worker CPU µs", "worker_us"),
                ("server CPU µs", "server_us"),
                ("round trips", "round_trips"),
                ("commands", "commands"),
                ("bytes on the wire", "bytes"),
                ("worker MB", "rss_mb"),
            )
        ),
    ),
    Table(
        "Waiting jobs",
        "Jobs a second at concurrency 100. For 100 ms the slots alone allow 1,000 with one worker and 2,000 with two.",
        tuple(
            Column(f"{time}, {workers} worker{'s' * (workers > 1)}", f"wait {time} w{workers}")
            for time in ("1 ms", "100 ms")
            for workers in (1, 2)
        ),
    ),
    Table(
        "Submit to result",
        "Milliseconds with an idle worker, one job at a time.",
        _times("latency", "p50", "p95", "p99"),
    ),
    _open_loop("Steady load, 200 a second", "open loop 200/s"),
    _open_loop("Steady load, 1,000 a second", "open loop 1000/s"),
    _open_loop("Steady load, 70 % of the drain rate", "open loop 70 %"),
    Table(
        "Memory",
        "Megabytes of the broker for 10,000 jobs with 200 bytes of arguments: queued, and after they ended with "
        "their results kept.",
        (
            Column("queued", "memory", "queued_mb", more=False),
            Column("left", "memory", "left_mb", more=False),
        ),
    ),
    Table(
        "CPU-bound jobs",
        "Jobs a second that burn 5 ms of CPU; the ideal is 200 for each core. In threads of the worker, or however the "
        "system runs plain functions; and in processes that it starts for them.",
        (
            Column("1 worker", "cpu w1"),
            Column("2 workers", "cpu w2"),
            Column("1 worker, process execution", "cpu processes"),
        ),
    ),
    Table(
        "Size of arguments",
        "Milliseconds from submit to result, p50.",
        tuple(
            Column(title, "payload", f"p50_{size}", more=False)
            for title, size in (
                ("100 B", 100),
                ("1 kB", 1000),
                ("10 kB", 10_000),
                ("100 kB", 100_000),
                ("1 MB", 1_000_000),
            )
        ),
    ),
    Table(
        "Backlog",
        "Jobs a second while so many wait: flat is good.",
        tuple(Column(f"{size:,}", f"backlog {size}") for size in (1_000, 10_000, 100_000, 1_000_000)),
    ),
    Table(
        "Awaiting many results",
        "A producer submits jobs and waits for all of their results at once.",
        (
            Column("jobs/s", "awaited"),
            Column("its connections", "awaited", "connections", more=False),
        ),
    ),
)
