"""What every system runs, as tools: a module such as ``taskserver worker --tools`` loads."""

from __future__ import annotations

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import PROCESSES
from taskserver import tool

noop = tool(tasks.noop)
stamp = tool(tasks.stamp)
pause = tool(tasks.pause)
take = tool(tasks.take)


@tool(runs_in="process" if PROCESSES else "thread")
def burn(value: float) -> int:
    """Use that many seconds of CPU."""
    return tasks.burn(value)
