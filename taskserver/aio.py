"""Helpers for tasks and coroutines, and for calling coroutines from blocking code."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar
from weakref import WeakSet

from taskserver.errors import ClientUnusable

T = TypeVar("T")
C = TypeVar("C", bound="Connecting")

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


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items, and let the event loop do other work every few milliseconds."""
    since = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - since > TURN_SECONDS:
            await asyncio.sleep(0)
            since = time.perf_counter()


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
        _to_be_told_of_a_fork.add(self)

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
        self._enter = enter
        self.stack = AsyncExitStack()
        self._busy = asyncio.Lock()

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


class LoopThread:
    """An event loop in a thread of its own, for calls that block until a coroutine is done.

    It also works where a loop is already running in the caller's thread, as in notebooks.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._process = os.getpid()
        self._closed = False
        self._accepting = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine in the loop and wait for it; Ctrl-C cancels it there.

        Raises:
            ClientUnusable: if the loop is closed, also while the coroutine runs, or cannot run it.
        """
        try:
            future = self._start(call)
        except BaseException:
            call.close()
            raise
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise ClientUnusable(f"the {self._name} was closed in the middle of this call") from None
            raise
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an asynchronous iterator yields."""
        end = object()
        while (item := self.run(_next(items, end))) is not end:
            yield item

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, cancel all that others still wait for, and end the thread; harmless when repeated."""
        with self._accepting:
            if self._closed:
                last.close()
                return
            self._closed = True
            ending = asyncio.run_coroutine_threadsafe(last, self._loop)
        try:
            ending.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _start(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        if self._process != os.getpid():
            raise ClientUnusable(f"the {self._name} of this call was left to the parent process: call again")
        if threading.current_thread() is self._thread:
            raise ClientUnusable(f"a callback of the {self._name} cannot wait for another call: its thread is busy")
        with self._accepting:  # whatever was accepted is ended by `close`
            if self._closed:
                raise ClientUnusable(f"the {self._name} is closed: make another one")
            return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(cancel_and_wait(*asyncio.all_tasks(self._loop)))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


class Connecting(Protocol):
    """A client or inspector: it connects, and is closed, in one event loop."""

    async def connect(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Close every connection."""


class _Opened(NamedTuple, Generic[C]):
    loop: LoopThread
    wrapped: C


class Blocking(Generic[C]):
    """Base of the classes with blocking calls: what they wrap is made, connected and used in a thread of its own.

    After a fork, which leaves the thread behind, the child's first call makes all of it anew.

    Args:
        thread: Name of the thread.
        make: Makes what is wrapped.
    """

    def __init__(self, thread: str, make: Callable[[], C]) -> None:
        self._thread = thread
        self._make = make
        self._closed = False
        self._opening = threading.Lock()
        self._opened: _Opened[C] | None = None
        _to_be_told_of_a_fork.add(self)
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and stop the thread; harmless when repeated.

        Calls that other threads are waiting for end with ``ClientUnusable``, and so does every later one.
        """
        with self._opening:
            opened, self._opened, self._closed = self._opened, None, True
        if opened is not None:
            opened.loop.close(opened.wrapped.close())

    def forked(self) -> None:
        """This is a forked process: leave everything to the parent, and never touch it, not even by freeing it."""
        _left_to_the_parent.append(self._opened)
        self._opened = None
        self._opening = threading.Lock()

    def _open(self) -> _Opened[C]:
        with self._opening:
            if self._closed:
                raise ClientUnusable(f"the {self._thread} is closed: make another one")
            if self._opened is None:
                loop = LoopThread(self._thread)
                try:
                    self._opened = _Opened(loop, loop.run(_connected(self._make)))
                except BaseException:
                    loop.close(asyncio.sleep(0))
                    raise
            return self._opened

    def _run(self, call: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        loop, wrapped = self._open()
        return loop.run(call(wrapped))

    def _iterate(self, call: Callable[[C], AsyncIterator[T]]) -> Iterator[T]:
        loop, wrapped = self._open()
        return loop.iterate(call(wrapped))


async def _connected(make: Callable[[], C]) -> C:
    made = make()
    await made.connect()
    return made


async def _next(items: AsyncIterator[Any], default: object) -> Any:
    return await anext(items, default)


class _Forked(Protocol):
    def forked(self) -> None:
        """This is a forked process."""


_to_be_told_of_a_fork: WeakSet[_Forked] = WeakSet()
_left_to_the_parent: list[object] = []


def _note_fork() -> None:
    for each in list(_to_be_told_of_a_fork):
        each.forked()


os.register_at_fork(after_in_child=_note_fork)
