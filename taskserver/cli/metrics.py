"""``taskserver metrics``: the state of all queues and workers, from the broker, for Prometheus."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import click
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from taskserver.admin import Gauges, Inspector
from taskserver.cli.connecting import run_async
from taskserver.cli.declared import Declared, find_declared
from taskserver.cli.options import broker_option, config_file_option, task_server_option
from taskserver.cli.screen import note, show_text
from taskserver.config.settings import settings, variable
from taskserver.domain.names import check_queue_name
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.errors import BrokerError
from taskserver.fleet.planning import home_of, url_of
from taskserver.observability import metrics
from taskserver.observability.logging import configure
from taskserver.observability.loopwatch import LoopWatch
from taskserver.observability.metrics import registry_of
from taskserver.observability.serving import PageServer, health_page, metrics_page

PORT = 9100
ANSWER_SECONDS = 5.0
"""Maximum duration of a reading; Prometheus waits for 10 seconds by default."""
FRESH_SECONDS = 1.0
"""Scrapes within this time share a reading."""
BLOCKED_SECONDS = 15.0

log = logging.getLogger("taskserver.metrics")


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
    if (declared := find_declared(config_file, task_server)) is not None and broker_url is None:
        broker_url = _url_of(declared)
    if once:
        run_async(_print(broker_url, names))
    else:
        configure(settings().loglevel, settings().log_format)
        run_async(_serve(broker_url, host or settings().metrics_host, port, names))


def _url_of(declared: Declared) -> str | None:
    """The URL of the task server's broker; None if that is the embedded one, which becomes this process's own."""
    broker = declared.config.broker_of(declared.server)
    url = url_of(declared.config, broker)
    if broker is not None and url is None:  # an empty variable counts as none
        os.environ |= {variable("broker_url"): "", HOME_VARIABLE: str(home_of(declared.config, broker))}
        settings.cache_clear()
    return url


async def _print(broker_url: str | None, names: tuple[str, ...]) -> None:
    async with Inspector(broker_url) as inspector:
        await inspector.check()
        found = await inspector.gauges(*names)
    registry = registry_of(lambda: families(found), process=False)
    show_text(generate_latest(registry).decode().rstrip())


async def _serve(broker_url: str | None, host: str, port: int, names: tuple[str, ...]) -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    pages = {"/healthz": health_page(lambda: _illness(watch)), "/readyz": health_page(lambda: _illness(watch))}
    server = PageServer(host, port, pages, watch.ask)
    try:
        async with Inspector(broker_url) as inspector:
            cluster = Cluster(inspector, names)
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


class Cluster:
    """Reads the gauges for scrapes, which come from threads other than the event loop's.

    Args:
        inspector: Reads them. It belongs to the event loop in which this is created.
        names: Only of these queues; all if there are none.

    Attributes:
        registry: What is served.
    """

    def __init__(self, inspector: Inspector, names: Sequence[str] = ()) -> None:
        self._inspector = inspector
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.Lock()
        self._last: Gauges | None = None
        self._read_at = -FRESH_SECONDS
        self._away = False
        self.registry: CollectorRegistry = registry_of(self._families, process=True)

    def _families(self) -> Iterator[Metric]:
        waiting = asyncio.run_coroutine_threadsafe(self._fresh(), self._loop)
        try:
            found = waiting.result(ANSWER_SECONDS + 1)
        except TimeoutError:  # the loop itself is blocked
            waiting.cancel()
            found = None
        return families(found)

    async def _fresh(self) -> Gauges | None:
        """A recent reading; None if the broker does not answer."""
        async with self._reading:
            if time.monotonic() - self._read_at < FRESH_SECONDS:
                return self._last
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    self._last = await self._inspector.gauges(*self._names)
            except (BrokerError, TimeoutError) as error:
                self._note(f"the broker did not answer: {str(error) or 'timeout'}", away=True)
                self._last = None
            else:
                self._note("the broker is answering again", away=False)
            self._read_at = time.monotonic()
            return self._last

    def _note(self, what: str, *, away: bool) -> None:
        if away != self._away:
            log.warning("%s", what)
        self._away = away


def families(found: Gauges | None) -> Iterator[Metric]:
    """The metrics of a reading; without one, only that the broker is down."""
    yield metrics.build(version("taskserver"), sys.version.split()[0])
    yield metrics.UP.family([((), int(found is not None))])
    if found is None:
        return
    serving: dict[str, int] = dict.fromkeys((each.name for each in found.queues), 0)
    for worker in found.workers:
        for name in serving.keys() & set(worker.queues):
            serving[name] += 1
    rows = [((each.name,), each) for each in found.queues]
    yield metrics.QUEUES.family([((), found.known)])
    yield metrics.QUEUE_READY.family((labels, sum(each.ready.values())) for labels, each in rows)
    yield metrics.QUEUE_RUNNING.family((labels, each.running) for labels, each in rows)
    yield metrics.QUEUE_DELAYED.family((labels, each.delayed) for labels, each in rows)
    yield metrics.QUEUE_BACKLOG.family((labels, sum(each.ready.values()) + each.delayed) for labels, each in rows)
    yield metrics.QUEUE_DEAD.family((labels, each.dead) for labels, each in rows)
    yield metrics.QUEUE_AGE.family((labels, each.oldest_age or 0.0) for labels, each in rows)
    yield metrics.QUEUE_PAUSED.family((labels, int(each.paused)) for labels, each in rows)
    yield metrics.QUEUE_WORKERS.family((labels, serving[each.name]) for labels, each in rows)
    yield metrics.WORKERS.family([((), len(found.workers))])
    yield metrics.WORKER_SLOTS.family([((), sum(worker.slots for worker in found.workers))])
    yield metrics.WORKER_SLOTS_BUSY.family([((), sum(worker.busy for worker in found.workers))])
