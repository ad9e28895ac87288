"""The results of one run: one JSON file, of one machine. Tables and plots come from one such file, never from two."""

from __future__ import annotations

import json
import os
import platform
import secrets
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

Run = dict[str, Any]
Cell = dict[str, Any]


def begin(server: str, rounds: int, *, quick: bool) -> Run:
    """A run without results yet."""
    now = datetime.now(UTC)
    return {
        "id": f"{now:%Y-%m-%d-%H%M%S}-{secrets.token_hex(3)}",
        "taken": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "server": server,
        "rounds": rounds,
        "quick": quick,
        "load": [os.getloadavg()[0]],
        "systems": {},
        "results": {},
    }


def machine() -> dict[str, Any]:
    """What this machine is."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "os": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def add(run: Run, system: str, scenario: str, figures: dict[str, float]) -> None:
    """Note one measurement, to four digits."""
    samples = _cell(run, system, scenario).setdefault("samples", {})
    for name, value in figures.items():
        samples.setdefault(name, []).append(float(f"{value:.4g}"))


def took(run: Run, system: str, scenario: str, seconds: float) -> None:
    """Note how long a measurement took as a whole: what a run's time is spent on."""
    _cell(run, system, scenario).setdefault("took", []).append(round(seconds, 1))


def fail(run: Run, system: str, scenario: str, problem: str) -> None:
    """Note why there is no figure; a later round may still bring one."""
    _cell(run, system, scenario)["problem"] = problem


def _cell(run: Run, system: str, scenario: str) -> Cell:
    cell: Cell = run["results"].setdefault(system, {}).setdefault(scenario, {})
    return cell


def spread(run: Run, system: str, scenario: str, figure: str) -> tuple[float, float, float] | None:
    """Median, least and most of a figure over the rounds; None where it was not measured."""
    values = run["results"].get(system, {}).get(scenario, {}).get("samples", {}).get(figure)
    return (statistics.median(values), min(values), max(values)) if values else None


def median(run: Run, system: str, scenario: str, figure: str) -> float | None:
    """The median of a figure; None where it was not measured."""
    found = spread(run, system, scenario, figure)
    return found[0] if found else None


def problem(run: Run, system: str, scenario: str) -> str | None:
    """Why a scenario has no figure."""
    found = run["results"].get(system, {}).get(scenario, {}).get("problem") or run["systems"][system]["problem"]
    return found or None


def save(run: Run, path: Path) -> None:
    """Write a run, one line for each system and scenario."""
    head = {name: value for name, value in run.items() if name != "results"}
    lines = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    systems = []
    for system, cells in run["results"].items():
        rows = ",\n".join(f'  "{scenario}": {json.dumps(cell)}' for scenario, cell in cells.items())
        systems.append(f' "{system}": {{\n{rows}\n }}')
    lines.append('"results": {\n' + ",\n".join(systems) + "\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def load(paths: list[Path]) -> Run:
    """Read one run.

    Raises:
        ValueError: if the files are not of one run on one machine.
    """
    runs: list[Run] = [json.loads(path.read_text()) for path in paths]
    if len({(run["id"], json.dumps(run["machine"], sort_keys=True)) for run in runs}) != 1:
        raise ValueError(
            f"{', '.join(path.name for path in paths)} are different runs: their figures cannot stand in one table; "
            "give one of them"
        )
    return runs[0]
