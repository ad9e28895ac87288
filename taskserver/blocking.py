"""Calling coroutines from blocking code: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from taskserver import forks
from taskserver.aio import cancel_and_wait
from taskserver.errors import ClientUnusable

T = TypeVar("T")
C = TypeVar("C", bound="Connecting")


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

    def check(self) -> None:
        """Make sure that the caller may wait for the loop.

        Raises:
            ClientUnusable: if this is a forked process, or the loop's own thread.
        """
        if self._process != os.getpid():
            raise ClientUnusable(f"the {self._name} of this call was left to the parent process: call again")
        if threading.current_thread() is self._thread:
            raise ClientUnusable(f"a callback of the {self._name} cannot wait for another call: its thread is busy")

    def _start(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        self.check()
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
        forks.call_in_child(self)
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
            if self._opened is not None:
                self._opened.loop.check()
            opened, self._opened, self._closed = self._opened, None, True
        if opened is not None:
            opened.loop.close(opened.wrapped.close())

    def forked(self) -> None:
        """This is a forked process: leave everything to the parent, and never touch it, not even by freeing it."""
        forks.leave_to_parent(self._opened)
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
