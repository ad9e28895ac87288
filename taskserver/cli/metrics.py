"""``taskserver metrics``: the state of all queues and workers, from the broker, for Prometheus."""

from __future__ import annotations

import asyncio
import os
import signal

import click
from prometheus_client import generate_latest

from taskserver.admin import Inspector
from taskserver.cli.cluster_metrics import Cluster, families
from taskserver.cli.declared import Declared, find_declared
from taskserver.cli.options import broker_option, config_file_option, task_server_option
from taskserver.cli.running import run_async
from taskserver.cli.screen import note, show_text
from taskserver.config.settings import settings
from taskserver.config.texts import variable
from taskserver.domain.names import check_queue_name
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.fleet.planning import home_of, url_of
from taskserver.observability.logging import configure
from taskserver.observability.loopwatch import LoopWatch
from taskserver.observability.metrics import registry_of
from taskserver.observability.serving import PageServer, health_page, metrics_page

PORT = 9100
BLOCKED_SECONDS = 15.0


@click.command("metrics")
@broker_option
@config_file_option()
@task_server_option
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=PORT,
    show_default=True,
    help="Port to serve on; 0 picks a free one.",
)
@click.option("--host", metavar="HOST", help="Address to serve on. [default: 127.0.0.1; env: TASKSERVER_METRICS_HOST]")
@click.option("--queue", "-q", "names", multiple=True, metavar="NAME", help="Serve only this queue; repeatable.")
@click.option("--once", is_flag=True, help="Print the metrics and exit.")
def metrics_(
    broker_url: str | None,
    config_file: str | None,
    task_server: str | None,
    port: int,
    host: str | None,
    names: tuple[str, ...],
    once: bool,
) -> None:
    """Serve metrics of all queues and workers to Prometheus; one such process is enough.

    Each worker serves its own counts: taskserver worker --metrics-port.
    """
    for name in names:
        check_queue_name(name)
    declared = find_declared(config_file, task_server)
    first = _queues_of(declared) if declared is not None else []
    if declared is not None and broker_url is None:
        broker_url = _url_of(declared)
    if once:
        run_async(_print(broker_url, names, first))
    else:
        configure(settings().loglevel, settings().log_format)
        run_async(_serve(broker_url, host or settings().metrics_host, port, names, first))


def _queues_of(declared: Declared) -> list[str]:
    """The queues of all task servers with the same broker."""
    config = declared.config
    broker = config.broker_of(declared.server)
    servers = [server for server in config.task_servers if config.broker_of(server) is broker]
    return [queue for server in servers for queue in server.queue_names or [settings().queue]]


def _url_of(declared: Declared) -> str | None:
    """The URL of the task server's broker; None if that is the embedded one, which becomes this process's own."""
    broker = declared.config.broker_of(declared.server)
    url = url_of(declared.config, broker)
    if broker is not None and url is None:  # an empty variable counts as none
        os.environ |= {variable("broker_url"): "", HOME_VARIABLE: str(home_of(declared.config, broker))}
        settings.cache_clear()
    return url


async def _print(broker_url: str | None, names: tuple[str, ...], declared: list[str]) -> None:
    async with Inspector(broker_url) as inspector:
        await inspector.check()
        found = await inspector.gauges(*names, declared=declared)
    registry = registry_of(lambda: families(found), process=False)
    show_text(generate_latest(registry).decode().rstrip())


async def _serve(broker_url: str | None, host: str, port: int, names: tuple[str, ...], declared: list[str]) -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    pages = {"/healthz": health_page(lambda: _illness(watch)), "/readyz": health_page(lambda: _illness(watch))}
    server = PageServer(host, port, pages, watch.ask, "--port")
    try:
        async with Inspector(broker_url) as inspector:
            cluster = Cluster(inspector, names, declared)
            server.pages["/metrics"] = metrics_page(cluster.registry)
            server.start()
            note(f"serving metrics at {server.url}/metrics")
            await _until_sigterm()
    finally:
        server.close()


def _illness(watch: LoopWatch) -> str:
    return f"the event loop has been blocked for {watch.silence:.1f} s" if watch.silence > BLOCKED_SECONDS else ""


async def _until_sigterm() -> None:
    """Wait for SIGTERM; Ctrl-C is handled elsewhere."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
