"""``taskserver worker``: one process that runs tools."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable
from typing import Any, TypeVar

import click

from taskserver.cli.connecting import open_client
from taskserver.cli.lazy import DefaultGroup
from taskserver.cli.options import Duration, broker_option, load_tools, tools_option
from taskserver.config.settings import Settings, settings
from taskserver.observability.logging import FORMATS, LEVELS, configure
from taskserver.tools import Toolbox
from taskserver.worker.monitor import monitor_on
from taskserver.worker.worker import Worker, WorkerConfig

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=DefaultGroup, default="start")
def worker() -> None:
    """Run the tools of your modules for whoever submits jobs.

    SIGTERM or Ctrl-C stops it: it takes no more jobs, lets those that run go on for the grace period, and hands the
    rest to other workers. A second one does not wait.
    """


def _whole(least: float, most: float) -> click.IntRange:
    return click.IntRange(round(least), round(most))


def setting(
    name: str, what: str, *flags: str, kind: Callable[[float, float], Any] = Duration, metavar: str = "SECONDS"
) -> Callable[[F], F]:
    """An option for what is also a setting: bounds and default are the setting's, and nothing is said twice."""
    field = Settings.model_fields[name]
    least = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), 0)
    most = next((bound.le for bound in field.metadata if hasattr(bound, "le")), math.inf)
    flags = (f"--{name.replace('_', '-')}", *flags)
    note = f"[default: {field.default:g}; env: TASKSERVER_{name.upper()}]"
    return click.option(*flags, type=kind(least, most), metavar=metavar, help=f"{what} {note}")


@worker.command()
@tools_option
@setting("concurrency", "Jobs that run at once.", "-c", kind=_whole, metavar="N")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="A queue to work on; repeatable.")
@broker_option
@click.option("--loglevel", "-l", type=click.Choice(LEVELS), help="What is logged on stderr. [default: info]")
@click.option("--log-format", type=click.Choice(FORMATS), help="For people or for machines. [default: text]")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Serve metrics and health there; 0 for a free port, which the log tells. [env: TASKSERVER_METRICS_PORT]",
)
@click.option(
    "--metrics-host", metavar="HOST", help="The address for it. [default: 127.0.0.1; env: TASKSERVER_METRICS_HOST]"
)
@setting("lease", "If a worker falls silent, its jobs run elsewhere after this.")
@setting("grace_period", "How long running jobs may go on when the worker stops.")
@setting("unknown_tool_wait", "How long a job waits for a worker that knows its tool.")
def start(
    broker_url: str | None,
    modules: tuple[str, ...],
    loglevel: str | None,
    log_format: str | None,
    metrics_host: str | None,
    metrics_port: int | None,
    **given: Any,
) -> None:
    """Start a worker; the same as taskserver worker without it."""
    known = settings()
    configure(loglevel or known.loglevel, log_format or known.log_format)
    toolbox = load_tools(modules)
    port = known.metrics_port if metrics_port is None else metrics_port
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_work(broker_url, toolbox, _config(**given), metrics_host or known.metrics_host, port))


def _config(queues: tuple[str, ...], **given: float | None) -> WorkerConfig:
    """What was given on the command line, and the settings for the rest."""
    known = settings()
    said = {name: getattr(known, name) if value is None else value for name, value in given.items()}
    return WorkerConfig(queues=queues or (known.queue,), max_result_bytes=known.max_message_bytes, **said)  # type: ignore[arg-type]


async def _work(broker_url: str | None, toolbox: Toolbox, config: WorkerConfig, host: str, port: int | None) -> None:
    with monitor_on(host, port, settings().metrics_buckets) as monitor:
        # The worker itself waits for a broker that is down.
        async with open_client(broker_url, answering=False) as client:
            worker = Worker(await client.connect(), toolbox, config)
            if monitor is not None:
                monitor.observe(worker)
            await _until_stopped(worker)


async def _until_stopped(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
