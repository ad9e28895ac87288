"""Making the current process a worker: the command itself, or a replica of a supervisor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any

from taskserver.aio import cancel_and_wait
from taskserver.config.settings import settings
from taskserver.embedded import EmbeddedBroker
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet.first_process import become_child_of_first_process
from taskserver.fleet.monitor import Monitor
from taskserver.fleet.service_manager import notify_service_manager
from taskserver.fleet.signals import STOPPING, handling, prepare_signals, warn_of_shell
from taskserver.fleet.terminal import empty_standard_input, leave_terminal
from taskserver.observability.logging import configure
from taskserver.store.broker.opening import open_broker
from taskserver.tools import Toolbox, load_some
from taskserver.worker.identity import WorkerIdentity
from taskserver.worker.process_exit import EXIT_RECYCLE, LEAVE_SECONDS
from taskserver.worker.worker import Worker

SideTask = Callable[[Worker], Coroutine[Any, Any, None]]
"""A coroutine that runs beside a worker and is cancelled when the worker ends."""
LOADED_AT_START = ("taskserver.admin", "taskserver.client.sync")
"""What the package exports beside a worker's own modules. Tools may import it late, when the code on disk is newer."""


def prepare(assignment: Assignment) -> Toolbox:
    """Set up environment, streams and logging, and load the tools.

    Raises:
        ConfigError: if a module cannot be loaded, or the modules have no tools.
        ToolInvalid: if one of the tools is not valid.
    """
    prepare_signals()
    empty_standard_input()
    leave_terminal()
    if assignment.environment:
        os.environ.update(assignment.environment)
        settings.cache_clear()
    configure(assignment.loglevel, assignment.log_format)
    warn_of_shell()
    for module in LOADED_AT_START:
        import_module(module)
    return load_some(assignment.modules)


async def run_worker(
    assignment: Assignment,
    toolbox: Toolbox,
    identity: WorkerIdentity | None = None,
    side_tasks: Sequence[SideTask] = (),
) -> int:
    """Run a worker until a signal: the first one drains it, a second one does not wait for running jobs.

    Args:
        assignment: What to do.
        toolbox: The tools that ``prepare`` has loaded.
        identity: The task server and supervisor that the worker belongs to.
        side_tasks: What else runs as long as the worker.

    Returns:
        The exit code for this process.

    Raises:
        ConfigError: if the assignment is not valid.
        BrokerError: if the broker is not suitable.
    """
    with _monitor(assignment) as monitor:  # first, so that a port in use is reported before anything starts
        async with open_broker(assignment.broker_url, EmbeddedBroker.acquire) as broker:
            identity = identity or WorkerIdentity(assignment.task_server)
            worker = Worker(broker, toolbox, assignment.worker, identity._replace(owns_process=True))
            if monitor is not None:
                monitor.observe(worker)
            await _run(worker, side_tasks)
    return EXIT_RECYCLE if worker.recycle else 0


async def _run(worker: Worker, side_tasks: Sequence[SideTask]) -> None:
    with _stopping_at_signals(worker):
        tasks = [asyncio.create_task(start(worker)) for start in side_tasks]
        try:
            await worker.run()
        finally:
            for task in tasks:
                await cancel_and_wait(task)


def _monitor(assignment: Assignment) -> AbstractContextManager[Monitor | None]:
    if assignment.metrics_port is None:
        return nullcontext()
    return Monitor(assignment.metrics_host, assignment.metrics_port, settings().metrics_buckets)


def run_alone(assignment: Assignment) -> int:
    """Run a worker without a supervisor, in this process or, if that is process 1, in a child; return the exit code.

    Raises:
        ConfigError, ToolInvalid: if the assignment or its tools are not valid.
        BrokerError: if the broker is not suitable.
    """
    become_child_of_first_process()
    toolbox = prepare(assignment)
    return run_loop(run_worker(assignment, toolbox, side_tasks=[_notify_service_manager]), assignment.loop)


@contextmanager
def _stopping_at_signals(worker: Worker) -> Iterator[None]:
    """Drain at the first signal, hurry at the second. A supervisor's messages are counted apart from these."""
    count = 0

    def stop(_: int) -> None:
        nonlocal count
        count += 1
        if count == 1:
            worker.drain()
        else:
            worker.hurry()

    with handling(dict.fromkeys(STOPPING, stop), worker.config.grace_period + LEAVE_SECONDS) as handlers:
        worker.call_after_attempts(handlers.look_soon)
        yield


async def _notify_service_manager(worker: Worker) -> None:
    await notify_service_manager(worker.ready.wait, worker.until_stopping)
