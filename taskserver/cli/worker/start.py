"""``taskserver worker start``: one process that runs tools, or several."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from taskserver.cli.connecting import open_client, run_async
from taskserver.cli.options import Duration, Size, WeightedQueue, broker_option, named_modules, tools_option
from taskserver.cli.screen import note
from taskserver.cli.worker.declared import declared, queue_names, queue_shares
from taskserver.config.settings import LEAST_RSS, Settings, settings
from taskserver.domain.fleet import check_replicas
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.runtime import serve
from taskserver.fleet.supervisor.daemon import Daemon, launch
from taskserver.fleet.supervisor.process import Fleet, supervise
from taskserver.observability.discovery import write_targets
from taskserver.observability.logging import FORMATS, LEVELS
from taskserver.worker.config import WorkerConfig

F = TypeVar("F", bound=Callable[..., Any])


def _whole(least: float, most: float) -> click.IntRange:
    return click.IntRange(round(least), None if most == math.inf else round(most))


def _rss(_: float, __: float) -> Size:
    return Size(LEAST_RSS)


def setting(
    name: str, what: str, *flags: str, kind: Callable[[float, float], Any] = Duration, metavar: str = "SECONDS"
) -> Callable[[F], F]:
    """An option for what is also a setting: bounds and default are the setting's, and nothing is said twice."""
    field = Settings.model_fields[name]
    least = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), 0)
    most = next((bound.le for bound in field.metadata if hasattr(bound, "le")), math.inf)
    flags = (f"--{name.replace('_', '-')}", *flags)
    default = "none" if field.default is None else f"{field.default:g}"
    note = f"[default: {default}; env: TASKSERVER_{name.upper()}]"
    return click.option(*flags, type=kind(least, most), metavar=metavar, help=f"{what} {note}")


@click.command()
@tools_option
@setting("concurrency", "Jobs that run at once.", "-c", kind=_whole, metavar="N")
@click.option(
    "--queue",
    "-q",
    "queues",
    multiple=True,
    type=WeightedQueue(),
    help="A queue to work on, with its weight among several (1 by default); repeatable.",
)
@broker_option
@click.option("--loglevel", "-l", type=click.Choice(LEVELS), help="What is logged on stderr. [default: info]")
@click.option("--log-format", type=click.Choice(FORMATS), help="For people or for machines. [default: text]")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Serve metrics and health there; 0 for a free port, which is logged. [env: TASKSERVER_METRICS_PORT]",
)
@click.option(
    "--metrics-host", metavar="HOST", help="Address for it. [default: 127.0.0.1; env: TASKSERVER_METRICS_HOST]"
)
@click.option(
    "--metrics-targets",
    metavar="FILE",
    help="Keep a file from which Prometheus learns the replicas' ports. [env: TASKSERVER_METRICS_TARGETS]",
)
@setting("lease", "If a worker falls silent, its jobs run elsewhere after this.")
@setting("grace_period", "How long running jobs may go on when the worker stops.")
@setting("unknown_tool_wait", "How long a job waits for a worker that knows its tool.")
@setting("max_jobs", "End, to be replaced (exit code 75), after so many jobs.", kind=_whole, metavar="N")
@setting("max_rss", "End so when the process holds more memory, as 2GB.", kind=_rss, metavar="SIZE")
@click.option(
    "--keep-messages/--drop-messages",
    default=None,
    help="Whether succeeded jobs keep their arguments, to be run again. [default: drop; env: TASKSERVER_KEEP_MESSAGES]",
)
@click.option("--config", "config_file", metavar="FILE", help="A configuration file that says all this; flags win.")
@click.option("--task-server", metavar="NAME", help="Which task server of the configuration file.")
@click.option(
    "--replicas", "-r", type=int, metavar="N", help="Processes, each with its slots. [default: 1, or the file's]"
)
@click.option("--reload", is_flag=True, help="For development: replace the processes when a source file changes.")
@click.option("--daemon", is_flag=True, help="Run in the background; return when it is ready. It takes --log-file.")
@click.option(
    "--pid-file", default="", metavar="FILE", help="Of a daemon: holds its process's number, is locked by it."
)
@click.option("--log-file", default="", metavar="FILE", help="Of a daemon: where it logs. SIGUSR1 opens it anew.")
def start(
    broker_url: str | None,
    modules: tuple[str, ...],
    loglevel: str | None,
    log_format: str | None,
    metrics_port: int | None,
    metrics_host: str | None,
    metrics_targets: str | None,
    config_file: str | None,
    task_server: str | None,
    replicas: int | None,
    reload: bool,
    daemon: bool,
    pid_file: str,
    log_file: str,
    **given: Any,
) -> None:
    """Start a worker; the same as taskserver worker without it."""
    flags = {
        "modules": modules,
        "broker_url": broker_url,
        "loglevel": loglevel,
        "log_format": log_format,
        "metrics_host": metrics_host,
        "metrics_port": metrics_port,
        **given,
    }
    said = ""
    if config_file is not None:
        assignment, replicas, said = declared(config_file, task_server, flags, replicas)
    elif task_server is not None:
        raise click.UsageError("--task-server names one of a configuration file: add --config FILE")
    else:
        assignment, replicas = _as_given(flags), 1 if replicas is None else replicas
    targets = (said or settings().metrics_targets) if metrics_targets is None else metrics_targets
    alone = replicas == 1 and not reload and not targets
    port = _port(assignment.metrics_port, alone=alone and not daemon, targets=targets)
    fleet = Fleet(
        msgspec.structs.replace(assignment, metrics_port=port),
        check_replicas(replicas),
        reload,
        log_file and os.path.abspath(log_file),
        _targets_file(targets),
    )
    if daemon:
        _start_daemon(Daemon(fleet, pid_file and os.path.abspath(pid_file)))
        return
    if pid_file or log_file:
        raise click.UsageError("--pid-file and --log-file are for workers in the background: add --daemon")
    click.get_current_context().exit(serve(fleet.assignment) if alone else supervise(fleet))


def _port(port: int | None, *, alone: bool, targets: str) -> int | None:
    """Replicas need ports of their own, and so does one that takes the place of another."""
    if port and not alone:
        raise click.UsageError(
            "replicas cannot share a port for metrics: use --metrics-port 0, which gives each its own"
        )
    return 0 if port is None and targets else port


def _targets_file(path: str) -> str:
    """The file's whole path, if it could be written.

    Raises:
        ConfigError: if its folder is not there, or is not ours to write to.
    """
    if path:
        path = os.path.abspath(path)
        write_targets(Path(path), {})
    return path


def _start_daemon(daemon: Daemon) -> None:
    """Start it and say so; a broker that is down, for which it would wait unseen, is told at once."""
    if not daemon.fleet.log_file:
        raise click.UsageError("say where the daemon logs: --log-file FILE")

    async def check_broker() -> None:
        async with open_client(daemon.fleet.assignment.broker_url):
            ready = await asyncio.to_thread(launch, daemon)
        note(f"{ready.name} is ready (process {ready.pid}), and logs to {daemon.fleet.log_file}")

    run_async(check_broker())


def _as_given(flags: dict[str, Any]) -> Assignment:
    """What the command line says, and the settings for the rest."""
    known = settings()
    modules, broker_url = named_modules(flags.pop("modules")), flags.pop("broker_url")
    names = ("loglevel", "log_format", "metrics_host", "metrics_port")
    said = {name: flags.pop(name) for name in names}
    rest = {name: getattr(known, name) if value is None else value for name, value in said.items()}
    return Assignment(modules=modules, worker=_config(**flags), broker_url=broker_url, **rest)


def _config(queues: tuple[str, ...], **given: float | None) -> WorkerConfig:
    """What was given on the command line, and the settings for the rest."""
    known = settings()
    said: dict[str, Any] = {name: getattr(known, name) if value is None else value for name, value in given.items()}
    said["max_rss_bytes"] = said.pop("max_rss")
    return WorkerConfig(
        queues=queue_names(queues) or (known.queue,),
        shares=queue_shares(queues),
        max_result_bytes=known.max_message_bytes,
        **said,
    )
