"""``taskserver worker start``: one process that runs tools, or several."""

from __future__ import annotations

from typing import Any

import click

from taskserver.cli.options import broker_option, config_file_option, task_server_option, tools_option
from taskserver.cli.param_types import WeightedQueue
from taskserver.cli.worker.setting_options import setting_options


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
    from taskserver.cli.worker.flags import Flags  # when it runs: help and completion do without
    from taskserver.cli.worker.launch import launch

    given = {name: value for name, value in options.items() if value is not None}
    flags = Flags(modules, queues, broker_url, replicas, config_file, task_server, given)
    code = launch(flags, reload=reload, daemon=daemon, pid_file=pid_file, log_file=log_file)
    click.get_current_context().exit(code)
