"""Runs sync tools in threads, so that they do not block the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from taskserver.tools.context import Context
from taskserver.tools.failures import type_and_text

T = TypeVar("T")


CHECK_SECONDS = 5.0
"""How often to check whether a thread is still alive."""


async def run_in_thread(call: Callable[[], T], context: Context) -> T:
    """Run ``call`` in a new thread with a copy of the current context variables, and return its result.

    A thread cannot be killed. When the awaiting task is cancelled, this returns at once, ``context.cancelled`` is True,
    and ``context.outlived`` is a future that completes when the thread has ended.

    Raises:
        RuntimeError: if the call raised an error that must not pass through an event loop, such as ``SystemExit``,
            which is then the ``__cause__``; or if there is no memory for a thread. All other errors are raised as they
            are.
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


async def call_in_thread(call: Callable[[], T], name: str) -> T:
    """Make a call that belongs to no attempt in a new thread with a copy of the current context variables.

    Raises:
        RuntimeError: as ``run_in_thread``.
    """
    run = contextvars.copy_context().run
    thread = _Thread(lambda: run(call), name)
    thread.start()
    return await thread.answer


class _Unawaited(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return True


class _Thread(threading.Thread, Generic[T]):
    """Makes one call, and passes the result to the event loop.

    Not an executor: the interpreter joins the threads of concurrent.futures when it exits, so that one tool that hangs
    would hang the whole process. Daemon threads are not joined.

    When the process is out of memory, a thread may die silently before it has started, or before it could pass on its
    result. So ``start`` does not wait until it has started, which would block the event loop for ever (python/cpython
    issue 140746), and the loop checks now and then whether the thread is still alive.
    """

    def __init__(self, call: Callable[[], T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._started = _Unawaited()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Either the thread takes the call and makes it, or the loop takes it, and it is never made.
        self._calls = [call]
        self.answer: asyncio.Future[T] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        super().start()
        self._check_later()
        self.ended.add_done_callback(self._stop_checking)

    def run(self) -> None:
        try:
            call = self._calls.pop()
        except IndexError:  # the loop gave up: it took too long to start
            return
        deliver = _outcome(call, self.answer)
        # If the loop was closed meanwhile, nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, self.answer, deliver, self.ended)

    def _check_later(self) -> None:
        self._timer = self._loop.call_later(CHECK_SECONDS, self._check)

    def _stop_checking(self, _: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        started = not self._calls
        if self.is_alive():
            self._check_later()
        else:  # a result that it passed on is in the loop's queue already, before this
            self._loop.call_soon(self._give_up, started)

    def _give_up(self, started: bool) -> None:
        if self.ended.done():
            return
        if not started:
            try:
                self._calls.pop()
            except IndexError:  # it has started just now
                self._check_later()
                return
        error = RuntimeError("can't start new thread: out of memory")
        _settle(self.answer, lambda: self.answer.set_exception(error), self.ended)


def _outcome(call: Callable[[], T], answer: asyncio.Future[T]) -> Callable[[], None]:
    """Make the call, and return a function that completes ``answer`` with its result or error."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - nothing else in the thread could handle it
        failure = _deliverable(error)
        return lambda: answer.set_exception(failure)
    return lambda: answer.set_result(result)


def _deliverable(error: BaseException) -> Exception:
    """The error as one that a future accepts, and that neither stops the event loop nor looks like a cancellation."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    name, text = type_and_text(error)
    wrapped = RuntimeError(f"the tool raised {name}: {text}")
    wrapped.__cause__ = error
    return wrapped


def _settle(answer: asyncio.Future[T], deliver: Callable[[], None], ended: asyncio.Future[None]) -> None:
    if not answer.done():
        deliver()
    if not ended.done():
        ended.set_result(None)
