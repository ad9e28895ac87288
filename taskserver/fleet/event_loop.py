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
from typing import Any

from taskserver.errors import ConfigError
from taskserver.fleet.signals import STOPPING
from taskserver.worker.process_exit import EXIT_BROKEN, EXIT_SECONDS

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
    with runner:
        code = _run_in(runner, work)
        for number in handled:
            if signal.getsignal(number) is signal.SIG_IGN:  # set by ``handling``
                signal.signal(number, lambda *_: os._exit(code))
        _end_soon(code)
    return code


def _run_in(runner: asyncio.Runner, work: Coroutine[Any, Any, int]) -> int:
    ended = False

    async def run() -> int:
        nonlocal ended
        try:
            return await work
        finally:
            ended = True

    try:
        return runner.run(run())
    except (RuntimeError, SystemExit) as error:
        if ended:
            raise
        log.critical("a tool, or a library that it uses, ended the event loop: this process ends too")
        _end_tasks(runner.get_loop())
        wanted = error.code if isinstance(error, SystemExit) else None
        return wanted if isinstance(wanted, int) else EXIT_BROKEN


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel everything that the loop was running, and wait for it: a worker stops, and hands its jobs back."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


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
