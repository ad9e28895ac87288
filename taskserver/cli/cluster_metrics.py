"""The metrics of all queues and workers: gauges that are read from the broker when Prometheus scrapes."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from taskserver.admin import Gauges, Inspector
from taskserver.errors import BrokerError
from taskserver.observability import metrics
from taskserver.observability.metrics import registry_of
from taskserver.version import VERSION

ANSWER_SECONDS = 5.0
"""Maximum duration of a reading; Prometheus waits for 10 seconds by default."""
FRESH_SECONDS = 1.0
"""Scrapes within this time share a reading."""

log = logging.getLogger("taskserver.metrics")


class Cluster:
    """Reads the gauges for scrapes, which come from threads other than the event loop's.

    Args:
        inspector: Reads them. It belongs to the event loop in which this is created.
        names: Only of these queues; all if there are none.
        declared: Of these queues first.

    Attributes:
        registry: What is served.
    """

    def __init__(self, inspector: Inspector, names: Sequence[str] = (), declared: Sequence[str] = ()) -> None:
        self._inspector = inspector
        self._names = names
        self._declared = declared
        self._left_out = False
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
                    self._last = await self._inspector.gauges(*self._names, declared=self._declared)
            except (BrokerError, TimeoutError) as error:
                self._note(f"the broker did not answer: {str(error) or 'timeout'}", away=True)
                self._last = None
            else:
                self._note("the broker is answering again", away=False)
                self._note_left_out(self._last)
            self._read_at = time.monotonic()
            return self._last

    def _note(self, what: str, *, away: bool) -> None:
        if away != self._away:
            log.warning("%s", what)
        self._away = away

    def _note_left_out(self, found: Gauges) -> None:
        if found.left_out and not self._left_out:
            log.warning(
                "%d of %d queues are left out: choose some with --queue, or declare them in the file of --config-file",
                *(found.left_out, found.known),
            )
        self._left_out = found.left_out > 0


def families(found: Gauges | None) -> Iterator[Metric]:
    """The metrics of a reading; without one, only that the broker is down."""
    yield metrics.build(VERSION, sys.version.split()[0])
    yield metrics.UP.family([((), int(found is not None))])
    if found is None:
        return
    serving: dict[str, int] = dict.fromkeys((each.name for each in found.queues), 0)
    for worker in found.workers:
        for name in serving.keys() & set(worker.queues):
            serving[name] += 1
    rows = [((each.name,), each) for each in found.queues]
    yield metrics.QUEUES.family([((), found.known)])
    yield metrics.QUEUES_LEFT_OUT.family([((), found.left_out)])
    yield metrics.QUEUE_READY.family((labels, sum(each.ready.values())) for labels, each in rows)
    yield metrics.QUEUE_RUNNING.family((labels, each.running) for labels, each in rows)
    yield metrics.QUEUE_DELAYED.family((labels, each.delayed) for labels, each in rows)
    yield metrics.QUEUE_BACKLOG.family((labels, each.backlog) for labels, each in rows)
    yield metrics.QUEUE_DEAD.family((labels, each.dead) for labels, each in rows)
    yield metrics.QUEUE_AGE.family((labels, each.oldest_age or 0.0) for labels, each in rows)
    yield metrics.QUEUE_PAUSED.family((labels, int(each.paused)) for labels, each in rows)
    yield metrics.QUEUE_WORKERS.family((labels, serving[each.name]) for labels, each in rows)
    yield metrics.WORKERS.family([((), len(found.workers))])
    yield metrics.WORKER_SLOTS.family([((), sum(worker.slots for worker in found.workers))])
    yield metrics.WORKER_SLOTS_BUSY.family([((), sum(worker.busy for worker in found.workers))])
