"""Every metric, declared once, and how readings of them become what Prometheus reads.

Nothing here is made at import: whoever serves metrics makes a registry of its own, so that a program that uses this
package as a library keeps its own registry to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from taskserver.observability.tally import Distribution, Submissions, Tally

Labels = tuple[str, ...]


class Kind(NamedTuple):
    """A kind of metric: its name, what ends the names of its samples, and how its family is made."""

    name: str
    endings: tuple[str, ...]
    family: Any  # the library's families have no common type for making them


COUNTER = Kind("counter", ("_total",), CounterMetricFamily)
GAUGE = Kind("gauge", ("",), GaugeMetricFamily)
HISTOGRAM = Kind("histogram", ("_bucket", "_sum", "_count"), HistogramMetricFamily)
SUMMARY = Kind("summary", ("_sum", "_count"), SummaryMetricFamily)
INFO = Kind("info", ("_info",), InfoMetricFamily)


class Declared(NamedTuple):
    """A metric.

    Attributes:
        base: Its name without the ending of its samples.
        kind: What it is.
        help: What it says, as served and as documented.
        labels: Names of its labels.
        where: Who serves it: ``replica``, ``cluster``, ``client``; several with blanks between.
    """

    base: str
    kind: Kind
    help: str
    labels: Labels = ()
    where: str = "replica"

    @property
    def names(self) -> list[str]:
        """The names of its samples."""
        return [self.base + ending for ending in self.kind.endings]

    @property
    def title(self) -> str:
        """The name by which people know it."""
        return self.base + (self.kind.endings[0] if self.kind in (COUNTER, INFO) else "")

    def family(self, readings: Iterable[tuple[Any, ...]]) -> Metric:
        """What is served of it.

        Args:
            readings: For each series the values of the labels, and the value or values that its kind takes.
        """
        family: Metric = self.kind.family(self.base, self.help, labels=self.labels)
        for labels, *values in readings:
            family.add_metric(labels, *values)  # type: ignore[attr-defined]
        return family


_JOB = ("queue", "tool")
_QUEUE = ("queue",)

SUBMITTED = Declared("taskserver_jobs_submitted", COUNTER, "Jobs that this process submitted.", _JOB, "replica client")
STARTED = Declared("taskserver_jobs_started", COUNTER, "Attempts that began.", _JOB)
SUCCEEDED = Declared("taskserver_jobs_succeeded", COUNTER, "Jobs that ended with a result.", _JOB)
FAILED = Declared("taskserver_jobs_failed", COUNTER, "Jobs that ended with an error, dead letters among them.", _JOB)
RETRIED = Declared("taskserver_jobs_retried", COUNTER, "Attempts that failed and are followed by another.", _JOB)
CANCELLED = Declared("taskserver_jobs_cancelled", COUNTER, "Running jobs that ended because they were cancelled.", _JOB)
DEAD_LETTERED = Declared("taskserver_jobs_dead_lettered", COUNTER, "Jobs that became dead letters here.", _JOB)
DURATION = Declared("taskserver_job_duration_seconds", HISTOGRAM, "How long attempts took that ended here.", _JOB)
QUEUE_WAIT = Declared(
    "taskserver_job_queue_wait_seconds", HISTOGRAM, "How long jobs had been ready when their attempt began.", _JOB
)
SLOTS = Declared("taskserver_replica_slots", GAUGE, "Slots of this replica.")
SLOTS_BUSY = Declared("taskserver_replica_slots_busy", GAUGE, "Slots of this replica that are taken.")
READY = Declared("taskserver_replica_ready", GAUGE, "1 if this replica takes jobs, else 0.")
LEASES_LOST = Declared("taskserver_leases_lost", COUNTER, "Running jobs that were taken from this replica.", _QUEUE)
TAKEN_BACK = Declared(
    "taskserver_jobs_taken_back",
    COUNTER,
    "Running jobs that this replica took back from workers that fell silent.",
    _QUEUE,
)
BROKER_ERRORS = Declared(
    "taskserver_broker_errors", COUNTER, "Calls that the broker did not answer, or refused.", ("service",)
)
BROKER_SILENCE = Declared(
    "taskserver_broker_silence_seconds", GAUGE, "Seconds since the broker answered a heartbeat of this replica."
)
LOOP_LAG = Declared(
    "taskserver_event_loop_lag_seconds",
    GAUGE,
    "How long the event loop takes to come to a new task, or has taken so far.",
)
CLAIM_SIZE = Declared("taskserver_claim_jobs", SUMMARY, "Jobs that a claim brought.", _QUEUE)
SETTLE_SIZE = Declared("taskserver_settle_jobs", SUMMARY, "Attempts settled by one call.", _QUEUE)
UNSETTLED = Declared("taskserver_unsettled_jobs", GAUGE, "Ended attempts that the broker does not know of yet.", _QUEUE)
BUILD = Declared("taskserver_build", INFO, "Versions.", ("version", "python"), "replica cluster")

UP = Declared("taskserver_up", GAUGE, "1 if the broker answers, else 0: then nothing else is told.", (), "cluster")
QUEUE_READY = Declared("taskserver_queue_ready", GAUGE, "Jobs that wait for a slot.", _QUEUE, "cluster")
QUEUE_RUNNING = Declared("taskserver_queue_running", GAUGE, "Jobs that workers run.", _QUEUE, "cluster")
QUEUE_DELAYED = Declared("taskserver_queue_delayed", GAUGE, "Jobs that wait for their time.", _QUEUE, "cluster")
QUEUE_BACKLOG = Declared(
    "taskserver_queue_backlog", GAUGE, "Jobs that wait for a slot or for their time.", _QUEUE, "cluster"
)
QUEUE_DEAD = Declared("taskserver_queue_dead", GAUGE, "Dead letters.", _QUEUE, "cluster")
QUEUE_AGE = Declared(
    "taskserver_queue_oldest_age_seconds",
    GAUGE,
    "How long the oldest ready job has waited; 0 if none waits.",
    _QUEUE,
    "cluster",
)
QUEUE_PAUSED = Declared(
    "taskserver_queue_paused", GAUGE, "1 if no worker may claim from it, else 0.", _QUEUE, "cluster"
)
QUEUE_WORKERS = Declared("taskserver_queue_workers", GAUGE, "Live workers that work on it.", _QUEUE, "cluster")
QUEUES = Declared("taskserver_queues", GAUGE, "Queues at the broker.", (), "cluster")
WORKERS = Declared("taskserver_workers", GAUGE, "Live workers.", (), "cluster")
WORKER_SLOTS = Declared("taskserver_worker_slots", GAUGE, "Slots of all live workers.", (), "cluster")
WORKER_SLOTS_BUSY = Declared("taskserver_worker_slots_busy", GAUGE, "Those of them that are taken.", (), "cluster")

DECLARED = tuple(each for each in list(globals().values()) if isinstance(each, Declared))
"""All of them, in the order above."""

_ENDED = {SUCCEEDED: ("succeeded",), FAILED: ("failed", "dead"), RETRIED: ("retried",), CANCELLED: ("cancelled",),
          DEAD_LETTERED: ("dead",)}  # fmt: skip


def of_tally(tally: Tally) -> Iterator[Metric]:
    """What a worker has counted."""
    series = dict(sorted(tally.series.items()))
    yield of_submissions(tally.submissions)
    yield STARTED.family((labels, each.started) for labels, each in series.items())
    for declared, ways in _ENDED.items():
        yield declared.family((labels, sum(each.ended[way] for way in ways)) for labels, each in series.items())
    yield DURATION.family((labels, *_histogram(each.durations)) for labels, each in series.items())
    yield QUEUE_WAIT.family((labels, *_histogram(each.waits)) for labels, each in series.items())


def of_submissions(submissions: Submissions) -> Metric:
    """What was submitted."""
    return SUBMITTED.family(sorted(submissions.counts.items()))


def build(version: str, python: str) -> Metric:
    """Which version this is."""
    return BUILD.family([((), {"version": version, "python": python})])


def _histogram(spread: Distribution) -> tuple[list[tuple[str, float]], float]:
    total, counts = spread.total, spread.counts
    bounds = [*(str(bound) for bound in spread.bounds), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True)), total


class Readings(Collector):
    """A collector that asks for its readings when somebody scrapes.

    Args:
        read: Gives what there is to serve now; called from any thread.
    """

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """What there is now."""
        return self._read()

    def describe(self) -> Iterable[Metric]:
        """Nothing before it is asked: a registry would else collect at once."""
        return ()


def registry_of(read: Callable[[], Iterable[Metric]], *, process: bool) -> CollectorRegistry:
    """A registry with what ``read`` gives.

    Args:
        read: As for ``Readings``.
        process: Whether to add CPU, memory, open files and garbage collections of this process.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Readings(read))
    if process:
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
    return registry


class ClientMetrics(Submissions, Collector):
    """Counts what a client submits, for a program that serves metrics of its own.

    ::

        metrics = ClientMetrics()
        prometheus_client.REGISTRY.register(metrics)
        client = Client(metrics=metrics)

    One may serve several clients of one thread.
    """

    def collect(self) -> Iterable[Metric]:
        """``taskserver_jobs_submitted_total``."""
        return [of_submissions(self)]


__all__ = ["DECLARED", "ClientMetrics", "Declared", "Readings", "build", "of_submissions", "of_tally", "registry_of"]
