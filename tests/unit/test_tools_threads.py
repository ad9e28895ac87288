"""Sync tools in threads: results, errors, and threads that outlive their task."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from typing import Any, NoReturn

import pytest

from taskserver.domain.events import Report
from taskserver.tools import Context, run_in_thread, threads
from tests.patience import PATIENCE

LOCATION: contextvars.ContextVar[str] = contextvars.ContextVar("LOCATION")


class NoSink:
    def put(self, report: Report) -> bool:
        return True

    async def room(self) -> None: ...

    def wait_for_room(self) -> None: ...


def context() -> Context:
    return Context(job_id="q-1", queue="q", attempt=1, max_attempts=1, idempotency_key="k", sink=NoSink())


class Stuck:
    """A call that starts, signals it, and runs until it is released."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.started = asyncio.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self.loop.call_soon_threadsafe(self.started.set)
        assert self.release.wait(30)
        return "late"


async def test_the_result_comes_back_from_another_daemon_thread():
    thread = await run_in_thread(threading.current_thread, context())
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert "q-1" in thread.name


async def test_errors_come_back_as_they_are():
    def fail() -> NoReturn:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_in_thread(fail, context())


async def test_context_variables_are_copied():
    LOCATION.set("outside")

    def change() -> str:
        found = LOCATION.get()
        LOCATION.set("inside")
        return found

    assert await run_in_thread(change, context()) == "outside"
    assert LOCATION.get() == "outside"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1), asyncio.CancelledError()])
async def test_what_would_upset_the_event_loop_is_wrapped(error: BaseException):
    def fail() -> NoReturn:
        raise error

    with pytest.raises(RuntimeError, match=f"the tool raised .*{type(error).__name__}") as caught:
        await run_in_thread(fail, context())
    assert caught.value.__cause__ is error


async def test_a_cancelled_task_leaves_its_thread_running_and_reports_it():
    ctx, stuck = context(), Stuck()
    task = asyncio.create_task(run_in_thread(stuck, ctx))
    await stuck.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ctx.cancelled
    assert ctx.outlived is not None
    assert not ctx.outlived.done()
    stuck.release.set()
    await ctx.outlived


async def test_a_late_error_ends_quietly():
    ctx, stuck = context(), Stuck()

    def fail() -> NoReturn:
        stuck()
        raise SystemExit

    task = asyncio.create_task(run_in_thread(fail, ctx))
    await stuck.started.wait()
    task.cancel()
    await asyncio.wait([task])
    stuck.release.set()
    assert ctx.outlived is not None
    await ctx.outlived


async def test_a_thread_that_has_ended_does_not_outlive_its_task():
    ctx = context()
    await run_in_thread(int, ctx)
    assert ctx.outlived is None
    assert not ctx.cancelled


async def test_a_thread_that_cannot_start_for_lack_of_memory_does_not_block_the_event_loop(monkeypatch):
    monkeypatch.setattr(threading.Thread, "_bootstrap", lambda _: sys.exit())  # as silently as a MemoryError there
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run_in_thread(int, context()), 0.05)


async def test_a_thread_that_never_started_is_a_failure(monkeypatch):
    monkeypatch.setattr(threads, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(threading.Thread, "_bootstrap", lambda _: sys.exit())
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await run_in_thread(int, context())


async def test_a_cancelled_task_notices_that_its_thread_never_started(monkeypatch):
    monkeypatch.setattr(threads, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(threading.Thread, "_bootstrap", lambda _: sys.exit())
    ctx = context()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run_in_thread(int, ctx), 0)
    assert ctx.outlived is None or await ctx.outlived is None


async def test_a_thread_that_dies_without_a_result_is_a_failure(monkeypatch):
    def no_memory(*_: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(threads, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(threads, "_outcome", no_memory)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await run_in_thread(int, context())


async def test_a_thread_that_starts_too_late_makes_no_call(monkeypatch):
    begin, over, called = threading.Event(), threading.Event(), []
    bootstrap = threading.Thread._bootstrap

    def late(thread: threading.Thread) -> None:
        begin.wait(30)
        bootstrap(thread)
        over.set()

    monkeypatch.setattr(threads, "CHECK_SECONDS", 0.01)
    with monkeypatch.context() as until_given_up:
        until_given_up.setattr(threading.Thread, "_bootstrap", late)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await run_in_thread(lambda: called.append(True), context())
    begin.set()
    assert await asyncio.to_thread(over.wait, 30)
    assert called == []


async def test_the_thread_of_a_long_call_is_checked_until_it_ends(monkeypatch):
    monkeypatch.setattr(threads, "CHECK_SECONDS", 0.3)
    release, checks, check = threading.Event(), [], threads._Thread._check

    def count(thread: threads._Thread[bool]) -> None:
        checks.append(check(thread))
        if len(checks) == 2:
            release.set()

    monkeypatch.setattr(threads._Thread, "_check", count)
    assert await run_in_thread(lambda: release.wait(30), context()) is True
    assert len(checks) == 2


def test_a_thread_may_end_after_its_loop_was_closed():
    seen: list[Any] = []

    async def main() -> None:
        ctx, stuck = context(), Stuck()
        task = asyncio.create_task(run_in_thread(stuck, ctx))
        await stuck.started.wait()
        seen.append(next(thread for thread in threading.enumerate() if thread.name == "tool q-1"))
        seen.append(stuck.release)
        task.cancel()

    failures: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    try:
        asyncio.run(main())
        thread, release = seen
        release.set()
        thread.join(30)
    finally:
        threading.excepthook = hook
    assert not thread.is_alive()
    assert failures == []


def test_a_stuck_thread_does_not_keep_the_process_alive():
    program = """
import asyncio, threading
from taskserver.tools import Context, run_in_thread, threads
async def main():
    loop, started = asyncio.get_running_loop(), asyncio.Event()
    def stuck():
        loop.call_soon_threadsafe(started.set)
        threading.Event().wait()
    ctx = Context(job_id="q-1", queue="q", attempt=1, max_attempts=1, idempotency_key="k", sink=None)
    task = asyncio.create_task(run_in_thread(stuck, ctx))
    await started.wait()
    task.cancel()
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
