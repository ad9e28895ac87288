"""The event loop of a worker's or supervisor's process, and the end of the process after it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from taskserver.errors import ConfigError
from taskserver.fleet.signals import STOPPING
from taskserver.worker.process_exit import EXIT_BROKEN, EXIT_SECONDS, LEAVE_SECONDS

log = logging.getLogger("taskserver.worker")


def run_loop(work: Coroutine[Any, Any, int], loop: str = "auto") -> int:
    """Run ``work`` in an event loop and return its exit code.

    Signals that arrive after it do not change that code any more, and nothing that tools have left behind keeps this
    process alive.

    Args:
        work: What to run.
        loop: ``uvloop``, ``asyncio``, or ``auto`` for uvloop if it is installed.

    Raises:
        ConfigError: if uvloop is not installed.
    """
    handled = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        runner = asyncio.Runner(loop_factory=_loop_factory(loop))
    except ConfigError:
        work.close()
        raise
    try:
        code = _run_in(runner, work)
    except BaseException as error:  # for the caller to report: what is left in the loop must not hold that up
        _end_soon(_code_of(error))
        _end_tasks(runner.get_loop(), EXIT_SECONDS / 4)
        runner.get_loop().close()
        raise
    for number in handled:
        if signal.getsignal(number) is signal.SIG_IGN:  # set by ``handling``
            signal.signal(number, lambda *_: os._exit(code))
    _end_soon(code)
    runner.close()
    return code


def _run_in(runner: asyncio.Runner, work: Coroutine[Any, Any, int]) -> int:
    main: asyncio.Task[Any] | None = None

    async def run() -> int:
        nonlocal main
        main = asyncio.current_task()
        return await work

    try:
        return runner.run(run())
    except (RuntimeError, SystemExit) as error:
        if main is None or main.done():
            raise
        log.critical("a tool, or a library that it uses, ended the event loop: this process ends too")
        _end_tasks(runner.get_loop(), LEAVE_SECONDS - EXIT_SECONDS, main)
        return _code_of(error)


def _code_of(error: BaseException) -> int:
    wanted = error.code if isinstance(error, SystemExit) else None
    return wanted if isinstance(wanted, int) else EXIT_BROKEN


def _end_tasks(loop: asyncio.AbstractEventLoop, seconds: float, main: asyncio.Task[Any] | None = None) -> None:
    """Cancel everything that the loop was running, and wait for it, or for ``main``: a worker hands its jobs back."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with suppress(RuntimeError, SystemExit):  # one of them ends the loop again
            loop.run_until_complete(asyncio.wait((main,) if main else tasks, timeout=seconds))


def _end_soon(code: int) -> None:
    """End this process even if threads or exit hooks hang, or child processes that tools have started."""
    if "multiprocessing.process" in sys.modules:
        for child in multiprocessing.active_children():  # the interpreter waits for them
            child.terminate()
    timer = threading.Timer(EXIT_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if loop == "auto":
            return None
        raise ConfigError("uvloop is not installed: install it, or set loop to asyncio or auto") from None
    return uvloop.new_event_loop
