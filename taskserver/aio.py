"""Helpers for tasks and coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

REPEAT_SECONDS = 0.1
TURN_SECONDS = 0.002
"""How long a long computation keeps the event loop from other work."""


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended.

    One cancellation is not enough before Python 3.12: ``asyncio.wait_for`` may swallow one that arrives just as what it
    waits for is done (python/cpython issue 86296).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=REPEAT_SECONDS)


async def unless(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run ``work``; if the event is set meanwhile, cancel it. Returns whether it was done.

    Raises:
        Exception: what ``work`` raises.
    """
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(waiting, *(() if task.done() else (task,)))
    if task.cancelled():
        return False
    task.result()
    return not stopped.is_set()


async def wait_all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at the same time, wait until all of them have ended, and return what they return.

    Raises:
        Exception: the first error that any of them raised.
    """
    pending = list(calls)
    if len(pending) == 1:  # the usual case, without a task
        return [await pending[0]]
    results = await asyncio.gather(*pending, return_exceptions=True)
    for error in results:
        if isinstance(error, BaseException):
            raise error
    return results  # type: ignore[return-value]


async def paced(items: Iterable[T]) -> list[T]:
    """Collect items that are being computed, and let the event loop do other work every few milliseconds."""
    done: list[T] = []
    since = time.perf_counter()
    for item in items:
        done.append(item)
        if time.perf_counter() - since > TURN_SECONDS:
            await asyncio.sleep(0)
            since = time.perf_counter()
    return done
