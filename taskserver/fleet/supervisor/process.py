"""Making the current process a supervisor, or one with several: signals, orphans, the service manager."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from taskserver.aio import cancel_and_wait
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet.output import redirect_output
from taskserver.fleet.service_manager import notify_service_manager
from taskserver.fleet.signals import handling, prepare_signals, warn_of_shell
from taskserver.fleet.sources import Stamp
from taskserver.fleet.supervisor.reaper import reap_orphans
from taskserver.fleet.supervisor.reload import watch
from taskserver.fleet.supervisor.supervisor import Supervisor
from taskserver.fleet.supervisor.targets import updated_targets
from taskserver.observability.logging import configure


class MainTask(Protocol):
    """What a process is there for: a supervisor, or ``up`` with several of them.

    Attributes:
        name: What to call it.
        ready: Set once everything is ready.
    """

    name: str
    ready: asyncio.Event

    async def run(self) -> None:
        """Run until ``stop``."""

    async def until_stopping(self) -> None:
        """Wait until it stops."""

    def stop(self) -> None:
        """Drain; called again, do not wait for running jobs."""

    def restart(self) -> None:
        """Replace the replicas one after the other."""


Handler = Callable[[int], None]

ReportReady = Callable[[MainTask], Coroutine[Any, Any, None]]
"""Tells whoever started this process that it is ready."""


class SupervisorConfig(NamedTuple):
    """What a process with one supervisor is to do.

    Attributes:
        assignment: The same for each replica.
        replicas: How many.
        reload: Whether to replace them when a source file changes.
        log_file: Where everything is logged, reopened at SIGUSR1; empty for stderr.
        metrics_targets: File that tells Prometheus where the replicas' metrics are; empty for none.
    """

    assignment: Assignment
    replicas: int
    reload: bool = False
    log_file: str = ""
    metrics_targets: str = ""


def supervise(config: SupervisorConfig, report_ready: ReportReady | None = None) -> int:
    """Run a supervisor until a signal stops it, and return the exit code.

    Args:
        config: What to do.
        report_ready: Called with the supervisor when it starts; runs beside it.

    Raises:
        ConfigError: if the number of replicas is not valid.
        TaskServerError: if the replicas cannot start at all.
    """
    prepare_signals()
    configure(config.assignment.loglevel, config.assignment.log_format)
    warn_of_shell()
    return run_loop(_supervise(config, report_ready))


async def _supervise(config: SupervisorConfig, report_ready: ReportReady | None) -> int:
    supervisor = Supervisor(config.assignment, config.replicas, reload=config.reload)

    def reopen_log(_: int) -> None:
        redirect_output(config.log_file)
        supervisor.reopen(config.log_file)

    async with updated_targets(supervisor, config.assignment, config.metrics_targets):
        tasks = [] if report_ready is None else [report_ready(supervisor)]
        if config.reload:
            tasks.append(watch(lambda: _files(supervisor), supervisor.restart))
        return await host(supervisor, tasks, {signal.SIGUSR1: reopen_log} if config.log_file else {})


async def host(
    main: MainTask,
    side_tasks: Iterable[Coroutine[Any, Any, None]] = (),
    handlers: Mapping[int, Handler] = MappingProxyType({}),
) -> int:
    """Run the main task of this process until a signal stops it, and return the exit code.

    SIGTERM and SIGINT drain the replicas, a second one does not wait; SIGHUP replaces them one after the other.

    Args:
        main: The main task.
        side_tasks: What else runs as long as it.
        handlers: Handlers of further signals.
    """
    side_tasks = [notify_service_manager(main.ready.wait, main.until_stopping), reap_orphans(), *side_tasks]
    tasks = [asyncio.create_task(each) for each in side_tasks]
    with handling({**_handlers(main), **handlers}):
        try:
            await main.run()
        finally:
            await cancel_and_wait(*tasks)
    return 0


def _handlers(main: MainTask) -> dict[int, Handler]:
    def stop(_: int) -> None:
        main.stop()

    def restart(_: int) -> None:
        main.restart()

    at_terminal = sys.stderr.isatty()  # then SIGHUP means that it was closed, and nobody is there any more
    return {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: stop if at_terminal else restart}


def _files(supervisor: Supervisor) -> dict[str, Stamp]:
    files = dict(supervisor.refused_files)
    for replica in supervisor.replicas:
        files |= replica.files
    return files
