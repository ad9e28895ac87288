"""What makes a process a supervisor: its signals, its orphans, the service manager, changed files."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from taskserver.aio import cancel_and_wait
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.replica import reopen
from taskserver.fleet.runtime import be_mortal, handling, run_loop
from taskserver.fleet.service_manager import notify_service_manager
from taskserver.fleet.sources import Stamp
from taskserver.fleet.supervisor.reaper import inherits_orphans, reap_orphans
from taskserver.fleet.supervisor.reload import watch
from taskserver.fleet.supervisor.supervisor import Supervisor
from taskserver.fleet.supervisor.targets import tell_targets
from taskserver.observability.logging import configure

Company = Callable[[Supervisor], Coroutine[Any, Any, None]]


class Fleet(NamedTuple):
    """What a supervisor's process is told.

    Attributes:
        assignment: The same for each replica.
        replicas: How many.
        reload: Whether they are replaced when a source file changes.
        log_file: Where everything is logged, made anew at SIGUSR1; empty for stderr.
        metrics_targets: File that tells Prometheus where the replicas' metrics are; empty for none.
    """

    assignment: Assignment
    replicas: int
    reload: bool = False
    log_file: str = ""
    metrics_targets: str = ""


def supervise(fleet: Fleet, company: Company | None = None) -> int:
    """Be a supervisor until a signal says stop, and return the exit code.

    SIGTERM and SIGINT drain the replicas, a second one does not wait; SIGHUP replaces them one after the other.

    Args:
        fleet: What to do.
        company: What else runs beside the supervisor.

    Raises:
        ConfigError: if there cannot be so many replicas.
        TaskServerError: if they cannot start at all.
    """
    be_mortal()
    configure(fleet.assignment.loglevel, fleet.assignment.log_format)
    return run_loop(_supervise(fleet, company))


async def _supervise(fleet: Fleet, company: Company | None) -> int:
    supervisor = Supervisor(fleet.assignment, fleet.replicas, reload=fleet.reload)
    beside = [asyncio.create_task(notify_service_manager(supervisor.ready.wait, supervisor.until_stopping))]
    if inherits_orphans():
        beside.append(asyncio.create_task(reap_orphans()))
    if fleet.reload:
        beside.append(asyncio.create_task(watch(lambda: _files(supervisor), supervisor.restart)))
    if fleet.metrics_targets:
        beside.append(asyncio.create_task(tell_targets(supervisor, fleet.assignment, Path(fleet.metrics_targets))))
    if company is not None:
        beside.append(asyncio.create_task(company(supervisor)))
    with handling(_handlers(supervisor, fleet.log_file)):
        try:
            await supervisor.run()
        finally:
            await cancel_and_wait(*beside)
    return 0


def _handlers(supervisor: Supervisor, log_file: str) -> dict[int, Callable[[int], None]]:
    def stop(_: int) -> None:
        supervisor.stop()

    def restart(_: int) -> None:
        supervisor.restart()

    def begin_log(_: int) -> None:
        reopen(log_file)
        supervisor.reopen(log_file)

    at_terminal = sys.stderr.isatty()  # then SIGHUP says that it was closed, and nobody is there any more
    handlers: dict[int, Callable[[int], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: stop if at_terminal else restart,
    }
    if log_file:
        handlers[signal.SIGUSR1] = begin_log
    return handlers


def _files(supervisor: Supervisor) -> dict[str, Stamp]:
    files = dict(supervisor.refused_files)
    for replica in supervisor.replicas:
        files |= replica.files
    return files
