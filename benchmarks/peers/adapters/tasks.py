"""The work that every system runs. Each run leaves eight bytes in a file, which is how the harness counts runs.

The eight bytes are the nanoseconds between when the job was due and when it began, or zero. One small append is
atomic across threads and processes, costs about a microsecond, and is the same for every system.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

RUNS = os.open(os.environ["BENCH_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "BENCH_RUNS" in os.environ else -1


def ran(since_due: int = 0) -> None:
    """Leave the mark of one run."""
    os.write(RUNS, since_due.to_bytes(8, "little", signed=True))


async def noop(value: int) -> int:
    """Give the number back."""
    ran()
    return value


async def stamp(value: int) -> int:
    """Note how long after ``value``, a time in nanoseconds, it began."""
    ran(time.time_ns() - value)
    return 0


async def pause(value: float) -> int:
    """Wait that many seconds, as for a network."""
    await asyncio.sleep(value)
    ran()
    return 0


async def take(value: str) -> int:
    """Give the length of a text."""
    ran()
    return len(value)


def burn(value: float) -> int:
    """Use that many seconds of CPU."""
    end = time.thread_time() + value
    while time.thread_time() < end:
        pass
    ran()
    return 0


def noop_blocking(value: int) -> int:
    """As ``noop``, for systems that run plain functions."""
    ran()
    return value


def stamp_blocking(value: int) -> int:
    """As ``stamp``."""
    ran(time.time_ns() - value)
    return 0


def pause_blocking(value: float) -> int:
    """As ``pause``."""
    time.sleep(value)
    ran()
    return 0


def take_blocking(value: str) -> int:
    """As ``take``."""
    ran()
    return len(value)


Body = Callable[[Any], Any]
ASYNC: dict[str, Body] = {"noop": noop, "stamp": stamp, "pause": pause, "take": take}
BLOCKING: dict[str, Body] = {
    "noop": noop_blocking,
    "stamp": stamp_blocking,
    "pause": pause_blocking,
    "take": take_blocking,
    "burn": burn,
}
