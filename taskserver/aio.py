"""Helpers for tasks and coroutines, and for calling coroutines from blocking code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Generic, Protocol, Self, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound="Connecting")

REPEAT_SECONDS = 0.1


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


async def wait_all(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines at the same time and wait until all of them have ended.

    Raises:
        Exception: the first error that any of them raised.
    """
    pending = list(calls)
    if len(pending) == 1:  # the usual case, without a task
        await pending[0]
        return
    results = await asyncio.gather(*pending, return_exceptions=True)
    for error in results:
        if isinstance(error, BaseException):
            raise error


class LoopThread:
    """An event loop in a thread of its own, for calls that block until a coroutine is done.

    It also works where a loop is already running in the caller's thread, as in notebooks.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine in the loop and wait for it; Ctrl-C cancels it there."""
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an asynchronous iterator yields."""
        end = object()
        while (item := self.run(_next(items, end))) is not end:
            yield item

    @property
    def closed(self) -> bool:
        """Whether the loop has ended."""
        return self._loop.is_closed()

    def close(self) -> None:
        """Stop the loop and its thread; harmless when repeated."""
        if not self.closed:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Connecting(Protocol):
    """A client or inspector: it connects, and is closed, in one event loop."""

    async def connect(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Close every connection."""


class Blocking(Generic[C]):
    """Base of the classes with blocking calls: what they wrap is made, connected and used in a thread of its own.

    Args:
        thread: Name of the thread.
        make: Makes what is wrapped.
    """

    def __init__(self, thread: str, make: Callable[[], C]) -> None:
        self._loop = LoopThread(thread)
        try:
            self._wrapped = self._loop.run(_connected(make))
        except BaseException:
            self._loop.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and stop the thread; harmless when repeated."""
        if not self._loop.closed:
            self._loop.run(self._wrapped.close())
            self._loop.close()


async def _connected(make: Callable[[], C]) -> C:
    made = make()
    await made.connect()
    return made


async def _next(items: AsyncIterator[Any], default: object) -> Any:
    return await anext(items, default)
