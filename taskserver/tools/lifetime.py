"""What is opened before the first job and closed after the last: instances of class tools and of consumers.

An instance may have ``aclose`` or ``close``, or be a context manager, async or not. Its methods are called where its
jobs run, and an awaitable that one of them returns is awaited.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from taskserver.errors import ToolInvalid
from taskserver.tools.failures import type_and_text
from taskserver.tools.targets import location_of

CLOSE_SECONDS = 4.0
"""How long closing everything may take."""

log = logging.getLogger("taskserver.worker")


class Lifecycle(NamedTuple):
    """What an instance wants to be called before its first job and after its last; both may return awaitables."""

    begin: Callable[[], Any] | None
    end: Callable[[], Any] | None


def lifecycle_of(instance: object) -> Lifecycle:
    """The methods of an instance to call: those of a context manager, or ``aclose``, or ``close``."""
    kind = type(instance)
    for enter, leave in (("__aenter__", "__aexit__"), ("__enter__", "__exit__")):
        if hasattr(kind, enter) and hasattr(kind, leave):
            end = partial(getattr(kind, leave), instance, None, None, None)
            return Lifecycle(partial(getattr(kind, enter), instance), end)
    for name in ("aclose", "close"):
        method = getattr(instance, name, None)
        if callable(method) and _takes_nothing(method):
            return Lifecycle(None, method)
    return Lifecycle(None, None)


def _takes_nothing(method: Callable[..., Any]) -> bool:
    """Whether it can be called without arguments: another ``close`` is part of the tool's own work."""
    try:
        inspect.signature(method).bind()
    except TypeError:
        return False
    except ValueError:  # some methods written in C have no signature
        return True
    return True


@contextmanager
def explaining(target: Callable[..., Any], what: str = "instantiated") -> Iterator[None]:
    """Explain errors of a class or function that is being instantiated, entered or opened.

    Raises:
        ToolInvalid: for any of them, ``SystemExit`` included.
    """
    try:
        yield
    except ToolInvalid:
        raise
    except (Exception, SystemExit) as error:
        kind, text = type_and_text(error)
        raise ToolInvalid(
            f"{location_of(target)} could not be {what}: {kind}: {text}; repair that, or do not load it in this worker"
        ) from error


def instance_of(cls: Callable[..., Any], *args: Any) -> Any:
    """A new instance of the class.

    Raises:
        ToolInvalid: if it raises an error.
    """
    with explaining(cls):
        return cls(*args)


def is_awaitable(value: object) -> bool:
    """Whether a call's result has to be awaited."""
    return hasattr(type(value), "__await__")


async def settled(result: Any) -> Any:
    """What a call returns in the end."""
    while is_awaitable(result):
        result = await result
    return result


Caller = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Makes a call where the jobs of an instance run."""


async def _here(call: Callable[[], Any]) -> Any:
    return call()


async def opened(cls: Callable[..., Any], stack: AsyncExitStack, *args: Any, there: Caller = _here) -> Any:
    """A new instance of the class that has been entered, if it is a context manager; its end is put on the stack.

    Args:
        cls: The class.
        stack: Calls what closes the instance.
        args: For the class.
        there: Makes each call; by default on the event loop.

    Raises:
        ToolInvalid: if it raises an error.
    """
    instance = await there(partial(instance_of, cls, *args))
    await enter(instance, stack, there)
    return instance


async def enter(instance: object, stack: AsyncExitStack, there: Caller = _here) -> None:
    """Enter an instance, if it is a context manager; its end is put on the stack. For the rest, see ``opened``."""
    begin, end = lifecycle_of(instance)
    if begin is not None:
        with explaining(type(instance)):
            await settled(await there(begin))
    if end is not None:
        stack.push_async_callback(close, type(instance), partial(there, end))


async def close(target: Callable[..., Any], end: Callable[[], Awaitable[Any]]) -> None:
    """Call what closes something; errors are logged."""
    try:
        await settled(await end())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the others have to be closed as well
        report_unclosed(target, error)


def report_unclosed(target: Callable[..., Any], error: BaseException) -> None:
    """Log that something could not be closed."""
    log.warning("%s could not be closed: %s: %s", location_of(target), *type_and_text(error))


class Lifetime:
    """Opens things, and closes them in the same task, last first: task groups insist on one task.

    Args:
        open_all: Opens everything; it puts whatever is to be closed on the stack.
    """

    def __init__(self, open_all: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
        self._open_all = open_all
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open everything.

        Raises:
            ToolInvalid: if something could not be opened; what was opened before it is closed again.
        """
        self._task = asyncio.create_task(self._live())
        is_open = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait((self._task, is_open), return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_open.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Close everything; harmless when repeated, or if nothing is open. What takes too long is left behind."""
        self._closing.set()
        task, self._task = self._task, None
        if task is None or task.done():
            return
        if not self._opened.is_set():
            task.cancel()
        await asyncio.wait((task,), timeout=CLOSE_SECONDS)
        if not task.done():
            log.warning("tools were not closed within %g s: not waiting for them", CLOSE_SECONDS)
            task.cancel()

    async def _live(self) -> None:
        async with AsyncExitStack() as stack:
            await self._open_all(stack)
            self._opened.set()
            try:
                await self._closing.wait()
            except asyncio.CancelledError:
                if not self._closing.is_set():
                    log.error("other code in this process has cancelled what keeps resources open: restart this worker")
                raise
