"""A worker's HTTP port: its metrics, whether it is alive, whether it takes jobs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Self

from prometheus_client.core import Metric

from taskserver.domain.buckets import BUCKETS
from taskserver.domain.messages import ToolExecutionMessage
from taskserver.observability import metrics
from taskserver.observability.loopwatch import LoopWatch
from taskserver.observability.metrics import MetricSpec, of_tally, registry_of
from taskserver.observability.serving import PageServer, health_page, metrics_page
from taskserver.observability.tally import Tally
from taskserver.version import VERSION
from taskserver.worker.service import log
from taskserver.worker.vitals import Vitals
from taskserver.worker.worker import Worker


class Monitor:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``. Create it in the event loop in which the worker will run.

    It listens at once, so that a port in use is reported before anything starts.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free port.
        buckets: Bounds of the histograms, in seconds.

    Attributes:
        host: The address, as given.
        port: The port on which it listens.

    Raises:
        ConfigError: if it cannot listen there.
    """

    def __init__(self, host: str, port: int, buckets: tuple[float, ...] = BUCKETS) -> None:
        self._buckets = buckets
        self._watch = LoopWatch(asyncio.get_running_loop())
        self._worker: Worker | None = None
        self._tally: Tally | None = None
        self._vitals: Vitals | None = None
        pages = {
            "/metrics": metrics_page(registry_of(self._read, process=True)),
            "/healthz": health_page(self._unhealthy),
            "/readyz": health_page(self._unready),
        }
        self._server = PageServer(host, port, pages, self._watch.ask)
        self.host = host
        self.port = self._server.port
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def observe(self, worker: Worker) -> None:
        """Count what a worker does; call it before the worker runs."""
        toolbox = worker.toolbox
        tools = {*toolbox.tools, *toolbox.consumers} - {ToolExecutionMessage.message_type}
        self._tally = Tally(worker.config.queues, tools, self._buckets)
        self._vitals = worker.counting_into(self._tally)
        self._worker = worker
        worker.metrics_port = self.port
        log.info("serving metrics at %s/metrics", self._server.url)

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _unhealthy(self) -> str:
        allowed = self._worker.config.lease if self._worker else 15.0
        silence = self._watch.silence
        return f"the event loop has been blocked for {silence:.1f} s" if silence > allowed else ""

    def _unready(self) -> str:
        return self._unhealthy() or (self._worker.not_ready if self._worker else "starting: it does not take jobs yet")

    def _read(self) -> Iterator[Metric]:
        yield metrics.build(VERSION, sys.version.split()[0])
        yield _one(metrics.READY, int(not self._unready()))
        yield _one(metrics.LOOP_LAG, self._watch.lag)
        if self._tally is not None and self._vitals is not None:
            yield from of_tally(self._tally)
            yield from _of_vitals(self._vitals)


def _of_vitals(vitals: Vitals) -> Iterator[Metric]:
    yield _one(metrics.SLOTS, vitals.slots.size)
    yield _one(metrics.SLOTS_BUSY, vitals.slots.busy)
    yield metrics.LEASES_LOST.family(vitals.by_queue(lambda partition: partition.leases_lost))
    yield metrics.TAKEN_BACK.family(vitals.by_queue(lambda partition: partition.reclaimer.taken_back))
    yield metrics.CLAIM_SIZE.family(
        vitals.by_queue(lambda partition: partition.fetcher.claims, lambda partition: partition.fetcher.claimed)
    )
    yield metrics.SETTLE_SIZE.family(
        vitals.by_queue(lambda partition: partition.settler.batches, lambda partition: partition.settler.delivered)
    )
    yield metrics.UNSETTLED.family(vitals.by_queue(lambda partition: partition.settler.backlog))
    yield metrics.BROKER_ERRORS.family(((service,), number) for service, number in vitals.broker_errors.items())
    if vitals.heartbeat.answered_at:
        yield _one(metrics.BROKER_SILENCE, time.monotonic() - vitals.heartbeat.answered_at)


def _one(declared: MetricSpec, value: float) -> Metric:
    return declared.family([((), value)])
