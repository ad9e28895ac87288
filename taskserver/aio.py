"""Helpers for tasks and coroutines, and what keeps a client to its event loop and its process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, Generic, TypeVar

from taskserver import forks
from taskserver.errors import ClientUnusable

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


class LoopGuard:
    """Refuses a client to whoever uses it after it was closed, or outside the event loop and process it belongs to.

    What is used for every job compares ``loop`` by itself, and calls ``check`` only if it differs.

    Args:
        what: What it guards, as errors name it.

    Attributes:
        loop: The event loop in which it is used; None before the first use, after ``close``, and after a fork.
        closed: Whether ``close`` was called.
    """

    def __init__(self, what: str) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        self._what = what
        self._refusal = ""
        forks.tell(self)

    def check(self) -> None:
        """Make sure that the caller may use it; the first caller's event loop becomes its own.

        Raises:
            ClientUnusable: if not.
        """
        loop = asyncio.get_running_loop()
        if self._refusal:
            raise ClientUnusable(self._refusal)
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise ClientUnusable(
                f"{self._what} belongs to another event loop: make one in each loop, as in `async with Client()`, and "
                f"close it there"
            )

    def close(self) -> None:
        """Refuse it to everybody from now on; harmless when repeated."""
        self.closed = True
        self._refuse("is closed: open one with `async with`, or await its connect(), before you use it")

    def forked(self) -> None:
        """This is a forked process: its connections are the parent's."""
        if self.loop is not None:
            self._refuse("was connected before this process was forked: make one in each process")

    def _refuse(self, why: str) -> None:
        self.loop = None
        self._refusal = self._refusal or f"{self._what} {why}"


class OpenOnce(Generic[T]):
    """Something that is opened on first use and closed once, in one event loop.

    Args:
        what: What it is, as errors name it.
        enter: Opens it; what must be closed again is entered into the stack.

    Attributes:
        guard: Refuses other event loops, and everybody after ``close``.
        opened: What was opened; None before that, and after ``close``.
        stack: What ``close`` closes.
    """

    def __init__(self, what: str, enter: Callable[[AsyncExitStack], Awaitable[T]]) -> None:
        self.guard = LoopGuard(what)
        self.opened: T | None = None
        self.stack = AsyncExitStack()
        self._enter = enter
        self._busy = asyncio.Lock()
        forks.tell(self)

    async def get(self) -> T:
        """What was opened; the first caller opens it.

        Raises:
            ClientUnusable: if the caller may not use it.
        """
        self.guard.check()
        if self.opened is None:
            async with self._busy:
                self.guard.check()
                if self.opened is None:
                    self.opened = await self._enter(self.stack)
        return self.opened

    async def close(self) -> None:
        """Close what was opened; harmless when repeated.

        Raises:
            ClientUnusable: if it belongs to another event loop or process.
        """
        if not self.guard.closed:
            self.guard.check()
            self.guard.close()
        async with self._busy:
            self.opened = None
            await self.stack.aclose()

    def forked(self) -> None:
        """This is a forked process: what was opened is the parent's."""
        forks.leave(self.opened)
