"""Runs a sync tool in a thread of its own, so that the event loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from taskserver.tools.context import Context

T = TypeVar("T")


LOOK_SECONDS = 5.0
"""How often it is looked whether a thread is still there."""


async def run_in_thread(call: Callable[[], T], context: Context) -> T:
    """Run ``call`` in a new thread, with a copy of the current context variables, and return what it returns.

    A thread cannot be killed. When the awaiting task is cancelled, this ends at once, ``context.cancelled`` is
    True, and ``context.outlived`` is a future that completes when the thread has really ended.

    Raises:
        RuntimeError: if the call raised what must not pass through an event loop, such as ``SystemExit``; the
            original is its ``__cause__``. All other errors of the call are raised as they are.
            Also if there is no memory for a thread.
    """
    run = contextvars.copy_context().run
    thread = _Thread(lambda: run(call), f"tool {context.job_id}")
    thread.start()
    try:
        return await thread.answer
    except asyncio.CancelledError:
        context._cancel()
        if not thread.ended.done():
            context.outlived = thread.ended
        raise


class _Unawaited(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return True


class _Thread(threading.Thread, Generic[T]):
    """Makes one call, and tells the event loop what came of it.

    Not an executor: the interpreter joins the threads of concurrent.futures when it exits, and one tool that hangs
    would then hang the whole process. Nobody joins a daemon thread.

    Where memory is out, a thread dies before it has begun, or before it could tell, and nobody hears of it. So
    ``start`` does not wait for its begin, which would block the event loop for ever (python/cpython issue 140746), and
    the loop looks after it.
    """

    def __init__(self, call: Callable[[], T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._started = _Unawaited()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Whoever takes it decides: the thread, that it is made; or the loop, that it never will be.
        self._calls = [call]
        self.answer: asyncio.Future[T] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        super().start()
        self._look_later()
        self.ended.add_done_callback(self._look_no_more)

    def run(self) -> None:
        try:
            call = self._calls.pop()
        except IndexError:  # it was given up, having taken so long to begin
            return
        deliver = _outcome(call, self.answer)
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, self.answer, deliver, self.ended)

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look_no_more(self, _: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        begun = not self._calls
        if self.is_alive():
            self._look_later()
        else:  # what it may have told stands in the loop's queue already, before this
            self._loop.call_soon(self._give_up, begun)

    def _give_up(self, begun: bool) -> None:
        if self.ended.done():
            return
        if not begun:
            try:
                self._calls.pop()
            except IndexError:  # it has begun just now
                self._look_later()
                return
        error = RuntimeError("can't start new thread: out of memory")
        _settle(self.answer, lambda: self.answer.set_exception(error), self.ended)


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
