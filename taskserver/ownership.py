"""What keeps a client to the event loop and process it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Generic, TypeVar

from taskserver import forks
from taskserver.errors import ClientUnusable

T = TypeVar("T")


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
        forks.call_in_child(self)

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
        forks.call_in_child(self)

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
        forks.leave_to_parent(self.opened)
