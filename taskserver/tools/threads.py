"""Runs a sync tool in a thread of its own, so that the event loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from taskserver.tools.context import Context

T = TypeVar("T")


class _Unawaited(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return True


class _Thread(threading.Thread):
    """``start`` does not wait until the thread has begun: one that finds no memory to begin with never says so.

    Waiting for it would block the event loop for ever (python/cpython issue 140746).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._started = _Unawaited()


async def run_in_thread(call: Callable[[], T], context: Context) -> T:
    """Run ``call`` in a new thread, with a copy of the current context variables, and return what it returns.

    A thread cannot be killed. When the awaiting task is cancelled, this ends at once, ``context.cancelled`` is
    True, and ``context.outlived`` is a future that completes when the thread has really ended.

    Raises:
        RuntimeError: if the call raised what must not pass through an event loop, such as ``SystemExit``; the
            original is its ``__cause__``. All other errors of the call are raised as they are.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    ended: asyncio.Future[None] = loop.create_future()
    run = contextvars.copy_context().run

    def main() -> None:
        deliver = _outcome(lambda: run(call), answer)
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, answer, deliver, ended)

    # Not an executor: the interpreter joins the threads of concurrent.futures when it exits, and one tool that
    # hangs would then hang the whole process. Nobody joins a daemon thread.
    _Thread(target=main, name=f"tool {context.job_id}", daemon=True).start()
    try:
        return await answer
    except asyncio.CancelledError:
        context._cancel()
        if not ended.done():
            context.outlived = ended
        raise


def _outcome(call: Callable[[], T], answer: asyncio.Future[T]) -> Callable[[], None]:
    """Make the call, and return what settles ``answer`` with its result or error."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - nobody above a thread could handle it
        failure = _deliverable(error)
        return lambda: answer.set_exception(failure)
    return lambda: answer.set_result(result)


def _deliverable(error: BaseException) -> Exception:
    """The error in a form that a future takes and that neither stops the event loop nor looks like a cancellation."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the tool raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _settle(answer: asyncio.Future[T], deliver: Callable[[], None], ended: asyncio.Future[None]) -> None:
    if not answer.done():
        deliver()
    if not ended.done():
        ended.set_result(None)
