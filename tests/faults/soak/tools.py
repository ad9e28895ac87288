"""What the jobs of a soak do. Each run is written to the ledger when it begins and, if it gets there, when it ends.

A result names the run that it is from, so that the check can ask whether that was the one that had the job.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psutil

from taskserver import Context, tool
from tests.faults.soak.ledger import Ledger

PIECES = 5
"""How often ``talk`` says something."""
ROOM_BYTES = 32 * 1024 * 1024
"""What ``hog`` leaves itself until memory is out."""

_numbers = itertools.count()


@cache
def _ledger() -> Ledger:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # aborts are many here, and a core dump takes long
    return Ledger(os.environ["SOAK_LEDGER"])


def _lease() -> float:
    return float(os.environ["SOAK_LEASE"])


class Run:
    """One run of one job, as the ledger knows it."""

    def __init__(self, ctx: Context, kind: str) -> None:
        # The fence is no business of tools; here it tells whether a late run won.
        self.fence: int = ctx._sink.job.fence  # type: ignore[attr-defined]
        self.job, self.attempt, self.kind = ctx.job_id, ctx.attempt, kind
        self.name = f"{os.getpid()}.{next(_numbers)}"

    def result(self) -> dict[str, Any]:
        return {"run": self.name, "attempt": self.attempt}


@contextmanager
def recorded(ctx: Context, kind: str) -> Iterator[Run]:
    """Write down that a run begins and how it ends."""
    run = Run(ctx, kind)
    facts = {"job": run.job, "run": run.name}
    _ledger().write("begin", **facts, kind=kind, attempt=run.attempt, fence=run.fence, pid=os.getpid())
    try:
        yield run
    except BaseException as error:
        _ledger().write("end", **facts, how=type(error).__name__)
        raise
    _ledger().write("end", **facts, how="returned")


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def quick(label: str, ctx: Context) -> dict[str, Any]:
    """Do nothing."""
    with recorded(ctx, "quick") as run:
        return run.result()


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def slow(label: str, seconds: float, ctx: Context) -> dict[str, Any]:
    """Wait."""
    with recorded(ctx, "slow") as run:
        await asyncio.sleep(seconds)
        return run.result()


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def large(label: str, blob: str, ctx: Context) -> dict[str, Any]:
    """Get a large message."""
    with recorded(ctx, "large") as run:
        return run.result()


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def talk(label: str, ctx: Context) -> dict[str, Any]:
    """Tell of its progress, and say a few words: each with the run that said it."""
    with recorded(ctx, "talk") as run:
        for number in range(PIECES):
            await ctx.progress(number / PIECES, run.name)
            await ctx.emit(f"{run.fence} {number}")
            await asyncio.sleep(0.02)
        return run.result()


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
def thread(label: str, seconds: float, ctx: Context) -> dict[str, Any]:
    """Wait in a thread."""
    with recorded(ctx, "thread") as run:
        time.sleep(seconds)
        return run.result()


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def flaky(label: str, ctx: Context) -> dict[str, Any]:
    """Fail twice, then succeed."""
    with recorded(ctx, "flaky") as run:
        if ctx.attempt < 3:
            raise ConnectionError(f"run {run.name} fails")
        return run.result()


@tool(max_retries=1, retry_delay=0.2, retry_cap=1)
async def broken(label: str, ctx: Context) -> None:
    """Fail always."""
    with recorded(ctx, "broken") as run:
        raise ValueError(f"run {run.name} fails")


@tool(max_retries=1, retry_delay=0.2, retry_cap=1)
async def leaves(label: str, ctx: Context) -> None:
    """Try to end the process the polite way."""
    with recorded(ctx, "leaves") as run:
        raise SystemExit(f"run {run.name} fails")


@tool(max_retries=1)
async def pay(label: str, book: str, ctx: Context) -> dict[str, Any]:
    """Have an effect outside, at most once by its key, and die the first time, before anybody hears of it."""
    with recorded(ctx, "pay") as run, open(book, "a+") as file:
        file.seek(0)
        if ctx.idempotency_key not in file.read().split():
            file.write(f"{ctx.idempotency_key}\n")
        if ctx.attempt == 1:
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return run.result()


@tool(max_retries=1)
async def poison(label: str, ctx: Context) -> None:
    """End the process at once."""
    with recorded(ctx, "poison"):
        os.abort()


@tool(max_retries=1, retry_delay=0.2, retry_cap=1)
async def hog(label: str, ctx: Context) -> None:
    """Use up the memory that the process may have. Once it gives way; the second time the end comes, after a gasp."""
    with recorded(ctx, "hog") as run:
        _, most = limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM_BYTES, most))
        held: list[bytearray] | None = []
        for size in (65536, 1024, 60):
            with suppress(MemoryError):
                while held is not None:
                    held.append(bytearray(size))
        try:
            await asyncio.sleep(0.2)  # everybody else in this process has no memory either
        finally:
            if ctx.attempt > 1:
                os.abort()
            held = None
            resource.setrlimit(resource.RLIMIT_AS, limits)
        raise MemoryError(f"run {run.name} fails")


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def block(label: str, ctx: Context) -> dict[str, Any]:
    """Forget that the event loop must not be blocked."""
    with recorded(ctx, "block") as run:
        time.sleep(3 * _lease())
        return run.result()


@tool(max_retries=8, retry_delay=0.2, retry_cap=1)
async def grip(label: str, ctx: Context) -> dict[str, Any]:
    """Run C code that holds the interpreter lock: no thread of this process runs. The next attempt is kinder."""
    with recorded(ctx, "grip") as run:
        if ctx.attempt == 1:
            ctypes.PyDLL(None).usleep(round(2.5 * _lease() * 1e6))
        return run.result()


@tool(max_retries=1, retry_delay=0.2, retry_cap=1, timeout=0.5)
async def stubborn(label: str, ctx: Context) -> None:
    """Ignore its cancellation for longer than the worker's patience."""
    with recorded(ctx, "stubborn"):
        until = time.monotonic() + 8
        while time.monotonic() < until:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(until - time.monotonic())
