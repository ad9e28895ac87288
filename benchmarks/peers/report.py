"""From a run to Markdown tables and plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.charts import Bar, Curve, Row, bars, lines, number
from benchmarks.peers import record, targets
from benchmarks.peers.record import Run
from benchmarks.peers.systems import SYSTEMS
from benchmarks.peers.tables import TABLES, Column, Table

Say = Callable[[str], object]

OURS = "taskserver"
BEGIN, END = "<!-- begin: made by python -m benchmarks.peers report -->", "<!-- end -->"


def write(run: Run, folder: Path) -> None:
    """Write the run's JSON, its tables as Markdown, and its plots into a folder."""
    record.save(run, folder / "run.json")
    (folder / "tables.md").write_text(markdown(run))
    for name, plot in plots(run).items():
        (folder / f"bench-{name}.svg").write_text(plot)


def publish(run: Run, root: Path) -> None:
    """Put a run into the documentation, replacing the one before."""
    folder = root / "benchmarks" / "results"
    cpu = "".join(letter if letter.isalnum() else "-" for letter in run["machine"]["cpu"].lower()).strip("-")
    record.save(run, folder / f"{run['taken'][:10]}-{run['machine']['cores']}-cores-{cpu[:40].strip('-')}.json")
    for name, plot in plots(run).items():
        (root / "docs" / "assets" / f"bench-{name}.svg").write_text(plot)
    page = root / "docs" / "benchmarks.md"
    before, _, rest = page.read_text().partition(BEGIN)
    images = "\n".join(f"![{name}](assets/bench-{name}.svg)\n" for name in plots(run))
    page.write_text(f"{before}{BEGIN}\n{images}\n{markdown(run)}{END}{rest.partition(END)[2]}")


def markdown(run: Run) -> str:
    """Everything about a run as text."""
    parts = [_about(run), targets.table(run), *(_table(run, table) for table in TABLES), _not_first(run), _setups(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(run: Run) -> str:
    machine = run["machine"]
    hurry = " **A quick run: short measurements, for checking only.**" if run["quick"] else ""
    load = " … ".join(f"{value:.1f}" for value in (min(run["load"]), max(run["load"])))
    return (
        f"Run {run['id']} on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['os']}; "
        f"{run['server']} over loopback TCP without persistence. Medians of {run['rounds']} interleaved rounds (some "
        f"scenarios run in fewer), with least and most; the best of each column is bold. Load of the machine: {load}; "
        f"it took {run.get('seconds', 0) // 60 + 1} minutes.{hurry}"
    )


def _table(run: Run, table: Table) -> str:
    columns = [column for column in table.columns if _measured(run, column)]
    if not columns:
        return ""
    systems = [
        system
        for system, about in run["systems"].items()
        if not about["floor"] or any(column.floor and _value(run, system, column) for column in columns)
    ]
    head = f"| | {' | '.join(column.title for column in columns)} |\n|---|{'---|' * len(columns)}"
    best = [_best(run, column) for column in columns]
    rows = [
        f"| {_name(run, system)} | "
        + " | ".join(
            _cell(run, system, column, best=system == first) for column, first in zip(columns, best, strict=True)
        )
        + " |"
        for system in systems
    ]
    return f"### {table.title}\n\n{table.about}\n\n{head}\n" + "\n".join(rows)


def _measured(run: Run, column: Column) -> bool:
    return any(column.scenario in cells for cells in run["results"].values())


def _name(run: Run, system: str) -> str:
    if system == OURS:
        return f"**{system}**"
    return f"*{system}*" if run["systems"][system]["floor"] else system


def _cell(run: Run, system: str, column: Column, *, best: bool) -> str:
    found = record.spread(run, system, column.scenario, column.figure)
    if run["systems"][system]["floor"] and not column.floor:
        return ""
    problem = record.problem(run, system, column.scenario)
    if found is None:
        return f"*{problem}*" if problem else ""
    value, least, most = found
    text = f"**{number(value)}**" if best else number(value)
    if least != most and column.figure != "arrivals":
        text += f" ({number(least)} … {number(most)})"
    return f"{text} *once: {problem}*" if problem else text


def _value(run: Run, system: str, column: Column) -> float | None:
    return record.median(run, system, column.scenario, column.figure)


def _best(run: Run, column: Column) -> str | None:
    """The system ahead in a column; the floor does not compete."""
    known: dict[str, float] = {
        system: value
        for system, about in run["systems"].items()
        if not about["floor"] and (value := _value(run, system, column)) is not None
    }
    if not known or column.more is None:
        return None
    direction = 1 if column.more else -1
    return max(known, key=lambda system: direction * known[system])


def _not_first(run: Run) -> str:
    """Every column in which another system is ahead."""
    lost = []
    for table in TABLES:
        for column in table.columns:
            first, ours = _best(run, column), _value(run, OURS, column)
            if first in (None, OURS):
                continue
            theirs = _value(run, str(first), column)
            mine = "no figure" if ours is None else number(ours)
            lost.append(f"- {table.title}, {column.title}: {first} {number(theirs or 0)}, taskserver {mine}")
    return "### Where taskserver is not first\n\n" + ("\n".join(lost) or "Nowhere in this run.")


def _setups(run: Run) -> str:
    """How each system was set up, with versions as installed."""
    rows = ["### Setup of each system", "| | version | on | setup |\n|---|---|---|---|"]
    for system in SYSTEMS:
        if about := run["systems"].get(system.name):
            version = about["version"] or about["problem"]
            rows[-1] += f"\n| {_name(run, system.name)} | {version} | {about['runtime']} | {system.setup} |"
    return "\n\n".join(rows)


def plots(run: Run) -> dict[str, str]:
    """The plots of a run by name."""
    backlogs = [column for table in TABLES if table.title == "Backlog" for column in table.columns]
    return {
        "drain": _bars(run, "Drain: no-op jobs, one worker, concurrency 100", "jobs/s", [("drain c100 w1", "rate")]),
        "submit": _submit_plot(run),
        "latency": _bars(
            run,
            "From submit to result, idle worker (p50, p99)",
            "ms, logarithmic",
            [("latency", "p50"), ("latency", "p99")],
            log=True,
        ),
        "memory": _bars(
            run,
            "Broker memory of 10,000 jobs: queued, and left when they have ended",
            "MB",
            [("memory", "queued_mb"), ("memory", "left_mb")],
        ),
        "backlog": lines(
            "Drain rate with a backlog: flat is good",
            "jobs that wait",
            "jobs/s",
            [line for system in _competing(run) if (line := _line(run, system, backlogs)).points],
        ),
    }


def _competing(run: Run) -> list[str]:
    return [system for system, about in run["systems"].items() if not about["floor"]]


def _bars(run: Run, title: str, unit: str, figures: list[tuple[str, str]], *, log: bool = False) -> str:
    """All systems, the best first; those without a figure last, with the reason."""
    column = Column("", *figures[0])
    rows = [
        Row(
            system,
            [_bar(record.spread(run, system, *figure)) for figure in figures],
            system == OURS,
            record.problem(run, system, figures[0][0]) or "",
        )
        for system in _competing(run)
    ]
    less = unit.startswith(("ms", "MB"))

    def order(row: Row) -> float:
        value = _value(run, row.label, column)
        if value is None:
            return float("inf")
        return value if less else -value

    return bars(title, unit, sorted(rows, key=order), log=log)


def _submit_plot(run: Run) -> str:
    """The fastest way that each system has."""
    ways = ("submit one by one", "submit gathered", "submit batched")
    rows = []
    for system in _competing(run):
        known = [(found, way) for way in ways if (found := record.spread(run, system, way, "rate"))]
        found, way = max(known, default=(None, ""))
        label = f"{system}, {way.removeprefix('submit ')}" if system != OURS or not way else f"{OURS}, {way[7:]}"
        rows.append(Row(label.removesuffix(", "), [_bar(found)], system == OURS))
    rows.sort(key=lambda row: -(row.bars[0].value if row.bars[0] else 0))
    return bars("Submit, the fastest way that each has", "jobs/s", rows)


def _bar(found: tuple[float, float, float] | None) -> Bar | None:
    return Bar(*found) if found else None


def _line(run: Run, system: str, columns: list[Column]) -> Curve:
    points = [
        (float(column.title.replace(",", "")), value) for column in columns if (value := _value(run, system, column))
    ]
    return Curve(system, points)
