"""What makes a process a worker: the command's own, or a replica of a supervisor."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from taskserver.aio import cancel_and_wait
from taskserver.config.settings import settings
from taskserver.embedded import EmbeddedBroker
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.monitor import Monitor
from taskserver.fleet.service_manager import notify_service_manager
from taskserver.observability.logging import configure
from taskserver.store.broker.opening import open_broker
from taskserver.tools import Toolbox, load_some
from taskserver.worker.identity import WorkerIdentity
from taskserver.worker.process_exit import EXIT_RECYCLE
from taskserver.worker.worker import Worker

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals at which a worker stops."""

Companion = Callable[[Worker], Coroutine[Any, Any, None]]
"""What runs beside a worker, as long as it does."""


def prepare(assignment: Assignment) -> Toolbox:
    """Set up environment and logging, and load the tools.

    Raises:
        ConfigError: if a module cannot be loaded, or there is nothing in them.
        ToolInvalid: if one of their tools cannot be.
    """
    be_mortal()
    if assignment.environment:
        os.environ.update(assignment.environment)
        settings.cache_clear()
    configure(assignment.loglevel, assignment.log_format)
    return load_some(assignment.modules)


async def work(
    assignment: Assignment, toolbox: Toolbox, post: WorkerIdentity | None = None, beside: Sequence[Companion] = ()
) -> int:
    """Be a worker until a signal says stop: the first drains, a second one does not wait.

    Args:
        assignment: What to do.
        toolbox: The tools that ``prepare`` has loaded.
        post: Where the worker belongs.
        beside: What runs beside it.

    Returns:
        The exit code for this process.

    Raises:
        ConfigError: if the assignment cannot work.
        BrokerError: if the broker will not do.
    """
    with _monitor(assignment) as monitor:  # first: a port in use is told before anything is begun
        async with open_broker(assignment.broker_url, EmbeddedBroker.acquire) as broker:
            worker = Worker(broker, toolbox, assignment.worker, post or WorkerIdentity(assignment.task_server))
            if monitor is not None:
                monitor.observe(worker)
            await _run(worker, beside)
    return EXIT_RECYCLE if worker.recycle else 0


async def _run(worker: Worker, beside: Sequence[Companion]) -> None:
    with _signals(worker):
        companions = [asyncio.create_task(start(worker)) for start in beside]
        try:
            await worker.run()
        finally:
            for companion in companions:
                await cancel_and_wait(companion)


def _monitor(assignment: Assignment) -> AbstractContextManager[Monitor | None]:
    if assignment.metrics_port is None:
        return nullcontext()
    return Monitor(assignment.metrics_host, assignment.metrics_port, settings().metrics_buckets)


def serve(assignment: Assignment) -> int:
    """Be a worker in this very process, without a supervisor, and return the exit code.

    Raises:
        ConfigError, ToolInvalid: if the assignment or its tools cannot work.
        BrokerError: if the broker will not do.
    """
    toolbox = prepare(assignment)
    return run_loop(work(assignment, toolbox, beside=[_tell_service_manager]))


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run work in a fast event loop, if there is one; then the process ends with its code, whatever signals come."""
    heard = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(work)
        for number in heard:
            if signal.getsignal(number) is signal.SIG_IGN:  # the work has handled it
                signal.signal(number, lambda *_: os._exit(code))  # a thread or hook that does not end must not hold us
    return code


def be_mortal() -> None:
    """Let SIGTERM end this process while there is nothing to lose yet: process 1 ignores what it does not handle.

    First of all that a worker or supervisor does, so that its hook for the end of the process is the last to be called.
    """
    atexit.register(_ignore_signals)
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _ignore_signals() -> None:
    """Python's last steps would give signals their default actions back, and those change the exit code."""
    for number in STOPPING:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def _signals(worker: Worker) -> Iterator[None]:
    """Stop at signals. Another process may have said stop already, so each side's second word is what hurries."""
    heard: list[int] = []

    def hear(number: int) -> None:
        heard.append(number)
        if len(heard) == 1:
            worker.drain()
        else:
            worker.hurry()

    with handling(dict.fromkeys(STOPPING, hear)):
        yield


@contextmanager
def handling(handlers: dict[int, Callable[[int], None]]) -> Iterator[None]:
    """Handle signals in the running event loop. After ``nohup``, SIGHUP stays ignored.

    What comes later comes too late, and is ignored: the process is about to end, with an exit code that says how.
    """
    loop = asyncio.get_running_loop()
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    mine = [number for number in handlers if not (nohup and number == signal.SIGHUP)]
    for number in mine:
        loop.add_signal_handler(number, handlers[number], number)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, mine)  # for a moment the loop gives them their default actions back
        for number in mine:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mine)


async def _tell_service_manager(worker: Worker) -> None:
    await notify_service_manager(worker.ready.wait, worker.until_stopping)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
