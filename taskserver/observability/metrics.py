"""Every metric, declared once, and how its values are exposed to Prometheus.

Nothing is registered at import: whatever serves metrics makes a registry of its own, so that nothing is added to the
registry of a program that uses this package as a library.
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
    """A kind of metric: its name, the endings of its samples' names, and the class of its family."""

    name: str
    endings: tuple[str, ...]
    family: Any  # the constructors of the library's families have no common type


COUNTER = Kind("counter", ("_total",), CounterMetricFamily)
GAUGE = Kind("gauge", ("",), GaugeMetricFamily)
HISTOGRAM = Kind("histogram", ("_bucket", "_sum", "_count"), HistogramMetricFamily)
SUMMARY = Kind("summary", ("_sum", "_count"), SummaryMetricFamily)
INFO = Kind("info", ("_info",), InfoMetricFamily)


class MetricSpec(NamedTuple):
    """The declaration of a metric.

    Attributes:
        base: Its name without the ending of its samples.
        kind: Its kind.
        help: Its help text, as served and as documented.
        labels: Names of its labels.
        where: Where it is served: ``replica``, ``cluster`` or ``client``, or several of them separated by spaces.
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
        """The name under which it is documented."""
        return self.base + (self.kind.endings[0] if self.kind in (COUNTER, INFO) else "")

    def family(self, readings: Iterable[tuple[Any, ...]]) -> Metric:
        """The family to be served.

        Args:
            readings: For each series, the values of the labels and the value or values that the kind takes.
        """
        family: Metric = self.kind.family(self.base, self.help, labels=self.labels)
        for labels, *values in readings:
            family.add_metric(labels, *values)  # type: ignore[attr-defined]
        return family


_JOB = ("queue", "tool")
_QUEUE = ("queue",)

SUBMITTED = MetricSpec(
    "taskserver_jobs_submitted", COUNTER, "Jobs that this process submitted.", _JOB, "replica client"
)
STARTED = MetricSpec("taskserver_jobs_started", COUNTER, "Attempts that started.", _JOB)
SUCCEEDED = MetricSpec("taskserver_jobs_succeeded", COUNTER, "Jobs that ended with a result.", _JOB)
FAILED = MetricSpec("taskserver_jobs_failed", COUNTER, "Jobs that ended with an error, including dead letters.", _JOB)
RETRIED = MetricSpec("taskserver_jobs_retried", COUNTER, "Attempts that failed and will be retried.", _JOB)
CANCELLED = MetricSpec("taskserver_jobs_cancelled", COUNTER, "Running jobs that were cancelled.", _JOB)
DEAD_LETTERED = MetricSpec("taskserver_jobs_dead_lettered", COUNTER, "Jobs that became dead letters.", _JOB)
DURATION = MetricSpec("taskserver_job_duration_seconds", HISTOGRAM, "Duration of attempts.", _JOB)
QUEUE_WAIT = MetricSpec(
    "taskserver_job_queue_wait_seconds", HISTOGRAM, "Time that jobs waited while they were ready to run.", _JOB
)
SLOTS = MetricSpec("taskserver_replica_slots", GAUGE, "Slots of this replica.")
SLOTS_BUSY = MetricSpec("taskserver_replica_slots_busy", GAUGE, "Slots of this replica in use.")
READY = MetricSpec("taskserver_replica_ready", GAUGE, "1 if this replica takes jobs, else 0.")
LEASES_LOST = MetricSpec("taskserver_leases_lost", COUNTER, "Running jobs whose lease this replica lost.", _QUEUE)
TAKEN_BACK = MetricSpec(
    "taskserver_jobs_taken_back",
    COUNTER,
    "Running jobs that this replica reclaimed from workers that stopped renewing their leases.",
    _QUEUE,
)
BROKER_ERRORS = MetricSpec(
    "taskserver_broker_errors", COUNTER, "Calls that the broker refused or did not answer.", ("part",)
)
BROKER_SILENCE = MetricSpec(
    "taskserver_broker_silence_seconds", GAUGE, "Seconds since the broker last answered a heartbeat of this replica."
)
LOOP_LAG = MetricSpec(
    "taskserver_event_loop_lag_seconds",
    GAUGE,
    "Time that the event loop takes to start a new task, or has taken so far.",
)
CLAIM_SIZE = MetricSpec("taskserver_claim_jobs", SUMMARY, "Jobs per claim.", _QUEUE)
SETTLE_SIZE = MetricSpec("taskserver_settle_jobs", SUMMARY, "Attempts settled per call.", _QUEUE)
UNSETTLED = MetricSpec("taskserver_unsettled_jobs", GAUGE, "Attempts that have ended but are not settled yet.", _QUEUE)
BUILD = MetricSpec(
    "taskserver_build", INFO, "Versions of taskserver and Python.", ("version", "python"), "replica cluster"
)

UP = MetricSpec(
    "taskserver_up", GAUGE, "1 if the broker answers; else 0, and the other metrics are missing.", (), "cluster"
)
QUEUE_READY = MetricSpec("taskserver_queue_ready", GAUGE, "Jobs that are waiting for a slot.", _QUEUE, "cluster")
QUEUE_RUNNING = MetricSpec("taskserver_queue_running", GAUGE, "Jobs that are running.", _QUEUE, "cluster")
QUEUE_DELAYED = MetricSpec("taskserver_queue_delayed", GAUGE, "Jobs that are not due yet.", _QUEUE, "cluster")
QUEUE_BACKLOG = MetricSpec(
    "taskserver_queue_backlog",
    GAUGE,
    "Jobs that could start now or within a minute; at least 1 while any is delayed; 0 if the queue is paused.",
    _QUEUE,
    "cluster",
)
QUEUE_DEAD = MetricSpec("taskserver_queue_dead", GAUGE, "Dead letters.", _QUEUE, "cluster")
QUEUE_AGE = MetricSpec(
    "taskserver_queue_oldest_age_seconds",
    GAUGE,
    "Time that the oldest ready job has waited; 0 if there is none.",
    _QUEUE,
    "cluster",
)
QUEUE_PAUSED = MetricSpec("taskserver_queue_paused", GAUGE, "1 if the queue is paused, else 0.", _QUEUE, "cluster")
QUEUE_WORKERS = MetricSpec("taskserver_queue_workers", GAUGE, "Live workers that consume the queue.", _QUEUE, "cluster")
QUEUES = MetricSpec("taskserver_queues", GAUGE, "Queues at the broker.", (), "cluster")
QUEUES_LEFT_OUT = MetricSpec(
    "taskserver_queues_left_out", GAUGE, "Queues that have no metrics here, because there are too many.", (), "cluster"
)
WORKERS = MetricSpec("taskserver_workers", GAUGE, "Live workers.", (), "cluster")
WORKER_SLOTS = MetricSpec("taskserver_worker_slots", GAUGE, "Slots of all live workers.", (), "cluster")
WORKER_SLOTS_BUSY = MetricSpec(
    "taskserver_worker_slots_busy", GAUGE, "Slots of all live workers in use.", (), "cluster"
)

DECLARED = tuple(each for each in list(globals().values()) if isinstance(each, MetricSpec))
"""All metrics, in the order above."""

_ENDED = {SUCCEEDED: ("succeeded",), FAILED: ("failed", "dead"), RETRIED: ("retried",), CANCELLED: ("cancelled",),
          DEAD_LETTERED: ("dead",)}  # fmt: skip


def of_tally(tally: Tally) -> Iterator[Metric]:
    """The metrics of a worker's jobs."""
    series = dict(sorted(tally.series.items()))
    yield of_submissions(tally.submissions)
    yield STARTED.family((labels, each.started) for labels, each in series.items())
    for declared, ways in _ENDED.items():
        yield declared.family((labels, sum(each.ended[way] for way in ways)) for labels, each in series.items())
    yield DURATION.family((labels, *_histogram(each.durations)) for labels, each in series.items())
    yield QUEUE_WAIT.family((labels, *_histogram(each.waits)) for labels, each in series.items())


def of_submissions(submissions: Submissions) -> Metric:
    """The metric of submitted jobs."""
    return SUBMITTED.family(sorted(submissions.counts.items()))


def build(version: str, python: str) -> Metric:
    """The metric with the versions."""
    return BUILD.family([((), {"version": version, "python": python})])


def _histogram(values: Distribution) -> tuple[list[tuple[str, float]], float]:
    total, counts = values.total, values.counts
    bounds = [*(str(bound) for bound in values.bounds), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True)), total


class Readings(Collector):
    """A collector that reads its metrics on every scrape.

    Args:
        read: Returns the current metrics; called from any thread.
    """

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """The current metrics."""
        return self._read()

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise a registry would collect as soon as this is registered."""
        return ()


def registry_of(read: Callable[[], Iterable[Metric]], *, process: bool) -> CollectorRegistry:
    """A registry with the metrics that ``read`` returns.

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
    """Counts the jobs that a client submits, for programs that serve their own metrics.

    ::

        metrics = ClientMetrics()
        prometheus_client.REGISTRY.register(metrics)
        client = Client(metrics=metrics)

    It can be used for several clients in the same thread.
    """

    def collect(self) -> Iterable[Metric]:
        """``taskserver_jobs_submitted_total``."""
        return [of_submissions(self)]


__all__ = ["DECLARED", "ClientMetrics", "MetricSpec", "Readings", "build", "of_submissions", "of_tally", "registry_of"]
