"""Tools that do nothing, and tools that keep a core busy, each in every way they can run."""

from __future__ import annotations

from taskserver import tool


@tool
async def nothing() -> None:
    """On the event loop."""


@tool
def nothing_thread() -> None:
    """In a thread."""


@tool(runs_in="process")
def nothing_process() -> None:
    """In a process."""


def _count() -> int:
    """About a tenth of a second of pure Python."""
    total = 0
    for number in range(1_500_000):
        total += number
    return total


@tool
def count_thread() -> int:
    """In a thread."""
    return _count()


@tool(runs_in="process")
def count_process() -> int:
    """In a process."""
    return _count()
