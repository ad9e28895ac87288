"""From the flags of ``taskserver worker`` to the process or the processes that run tools."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
import msgspec

from taskserver.admin import Inspector
from taskserver.cli.declared import find_declared
from taskserver.cli.running import run_async
from taskserver.cli.screen import note
from taskserver.cli.worker.flags import Flags, supervisor_config
from taskserver.domain.fleet import check_replicas
from taskserver.fleet.background import launch_supervisor
from taskserver.fleet.runtime import run_alone
from taskserver.fleet.supervisor.process import SupervisorConfig, supervise
from taskserver.observability.discovery import write_targets


def launch(flags: Flags, *, reload: bool, daemon: bool, pid_file: str, log_file: str) -> int:
    """Run workers until they are stopped, or start a daemon that does.

    Args:
        flags: What to run.
        reload: Restart the processes when a source file changes.
        daemon: Run in the background, and return when it is ready.
        pid_file: The daemon's PID file; empty for none.
        log_file: The daemon's log file.

    Returns:
        The exit code.

    Raises:
        ConfigFileInvalid: if the file's task server cannot run.
        click.UsageError: if the flags do not go together.
    """
    config = supervisor_config(find_declared(flags.config_file, flags.task_server), flags)
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
        return 0
    if pid_file or log_file:
        raise click.UsageError("--pid-file and --log-file require --daemon")
    return run_alone(config.assignment) if alone else supervise(config)


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
