"""The CPU-bound tool in a module of its own, where the processes that run it find it again."""

from __future__ import annotations

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import PROCESSES
from taskserver import tool


@tool(runs_in="process" if PROCESSES else "thread")
def burn(value: float) -> int:
    """Use that many seconds of CPU."""
    return tasks.burn(value)
