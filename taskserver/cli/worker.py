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
from taskserver.cli.options import Duration, Size, broker_option, load_tools, tools_option
from taskserver.config.settings import LEAST_RSS, Settings, settings
from taskserver.observability.logging import LEVELS, configure
from taskserver.tools import Toolbox
from taskserver.worker.quitting import EXIT_RECYCLE
from taskserver.worker.worker import Worker, WorkerConfig

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=DefaultGroup, default="start")
def worker() -> None:
    """Run the tools of your modules for whoever submits jobs.

    SIGTERM or Ctrl-C stops it: it takes no more jobs, lets those that run go on for the grace period, and hands the
    rest to other workers. A second one does not wait.
    """


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


@worker.command()
@tools_option
@setting("concurrency", "Jobs that run at once.", "-c", kind=_whole, metavar="N")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="A queue to work on; repeatable.")
@broker_option
@click.option("--loglevel", "-l", type=click.Choice(LEVELS), help="What is logged on stderr. [default: info]")
@setting("lease", "If a worker falls silent, its jobs run elsewhere after this.")
@setting("grace_period", "How long running jobs may go on when the worker stops.")
@setting("unknown_tool_wait", "How long a job waits for a worker that knows its tool.")
@setting("max_jobs", "End, to be replaced (exit code 75), after so many jobs.", kind=_whole, metavar="N")
@setting("max_rss", "End so when the process holds more memory, as 2GB.", kind=_rss, metavar="SIZE")
def start(broker_url: str | None, modules: tuple[str, ...], loglevel: str | None, **given: Any) -> None:
    """Start a worker; the same as taskserver worker without it."""
    configure(loglevel or settings().loglevel)
    toolbox = load_tools(modules)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_work(broker_url, toolbox, _config(**given)))
    if code:
        raise click.exceptions.Exit(code)


def _config(queues: tuple[str, ...], **given: float | None) -> WorkerConfig:
    """What was given on the command line, and the settings for the rest."""
    known = settings()
    said = {name: getattr(known, name) if value is None else value for name, value in given.items()}
    said["max_rss_bytes"] = said.pop("max_rss")
    return WorkerConfig(queues=queues or (known.queue,), max_result_bytes=known.max_message_bytes, **said)  # type: ignore[arg-type]


async def _work(broker_url: str | None, toolbox: Toolbox, config: WorkerConfig) -> int:
    async with open_client(broker_url, answering=False) as client:  # the worker itself waits for a broker that is down
        worker = Worker(await client.connect(), toolbox, config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await worker.run()
    return EXIT_RECYCLE if worker.recycle else 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
