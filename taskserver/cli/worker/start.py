"""``taskserver worker start``: one process that runs tools, or several."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click
import msgspec

from taskserver.admin import Inspector
from taskserver.cli.connecting import run_async
from taskserver.cli.declared import find_declared
from taskserver.cli.options import broker_option, config_file_option, task_server_option, tools_option
from taskserver.cli.param_types import WeightedQueue
from taskserver.cli.screen import note
from taskserver.cli.worker.flags import Flags, supervisor_config
from taskserver.cli.worker.setting_options import setting_options
from taskserver.domain.fleet import check_replicas
from taskserver.fleet.background import launch_supervisor
from taskserver.fleet.runtime import run_alone
from taskserver.fleet.supervisor.process import SupervisorConfig, supervise
from taskserver.observability.discovery import write_targets


@click.command()
@tools_option
@click.option(
    "--queue",
    "-q",
    "queues",
    multiple=True,
    type=WeightedQueue(),
    help="Queue to consume, with its weight among several (1 by default); repeatable. "
    "[default: default; env: TASKSERVER_QUEUE]",
)
@broker_option
@config_file_option()
@task_server_option
@click.option("--replicas", "-r", type=int, metavar="N", help="Number of processes. [default: 1, or the file's]")
@setting_options
@click.option("--reload", is_flag=True, help="Restart the processes when a source file changes, for development.")
@click.option("--daemon", is_flag=True, help="Run in the background, and return when it is ready. Requires --log-file.")
@click.option("--pid-file", default="", metavar="FILE", help="PID file, locked while the daemon runs (with --daemon).")
@click.option("--log-file", default="", metavar="FILE", help="Log file (with --daemon); SIGUSR1 reopens it.")
def start(
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    broker_url: str | None,
    config_file: str | None,
    task_server: str | None,
    replicas: int | None,
    reload: bool,
    daemon: bool,
    pid_file: str,
    log_file: str,
    **options: Any,
) -> None:
    """Start a worker; the same as taskserver worker on its own.

    Flags win over the configuration file, and the file over the environment.
    """
    given = {name: value for name, value in options.items() if value is not None}
    flags = Flags(modules, queues, broker_url, replicas, given)
    config = supervisor_config(find_declared(config_file, task_server), flags)
    alone = config.replicas == 1 and not reload and not config.metrics_targets
    port = _port(config, alone=alone and not daemon)
    config = SupervisorConfig(
        msgspec.structs.replace(config.assignment, metrics_port=port),
        check_replicas(config.replicas),
        reload,
        log_file and os.path.abspath(log_file),
        _targets_file(config.metrics_targets),
    )
    if daemon:
        _start_daemon(config, pid_file and os.path.abspath(pid_file))
        return
    if pid_file or log_file:
        raise click.UsageError("--pid-file and --log-file require --daemon")
    click.get_current_context().exit(run_alone(config.assignment) if alone else supervise(config))


def _port(config: SupervisorConfig, *, alone: bool) -> int | None:
    """The port for metrics; replicas need ports of their own, and so does one that replaces another."""
    port = config.assignment.metrics_port
    if port and not alone:
        raise click.UsageError("replicas cannot share a metrics port: use --metrics-port 0 to give each its own")
    return 0 if port is None and config.metrics_targets else port


def _targets_file(path: str) -> str:
    """The absolute path of the file.

    Raises:
        ConfigError: if it cannot be written.
    """
    if path:
        path = os.path.abspath(path)
        write_targets(Path(path), {})
    return path


def _start_daemon(config: SupervisorConfig, pid_file: str) -> None:
    """Start it in the background, once the broker answers: a daemon would wait for the broker unseen."""
    if not config.log_file:
        raise click.UsageError("--daemon requires --log-file")

    async def check_broker() -> None:
        async with Inspector(config.assignment.broker_url) as inspector:
            await inspector.check()
            ready = await asyncio.to_thread(launch_supervisor, config, pid_file)
        note(f"{ready.name} is ready (process {ready.pid}) and logs to {config.log_file}")

    run_async(check_broker())
