"""Counts what a process does, at the cost of a few integer additions for each job.

The hot path only adds; metrics are computed on a scrape (``observability/metrics.py``). One thread adds, and any thread
reads: a reading may be inconsistent by one job, and the next one is right again.

Names from outside could be anything, and each would become a series for ever. So a tally counts only known names, or a
limited number of them, separately, and all others together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection
from contextvars import ContextVar
from threading import Lock

from taskserver.domain.buckets import BUCKETS
from taskserver.domain.job import ClaimedJob
from taskserver.domain.partitions import queue_of

OTHER = "other"
"""The name for queues and tools that are not counted separately."""
UNKNOWN = "unknown"
"""The name for the tool of a message that cannot be read."""
MOST_INITIAL_SERIES = 100
"""Maximum number of pairs of queue and tool that are served before their first job, so that its increase is seen."""
MOST_SERIES = 500
"""Maximum number of pairs of queue and tool that a client counts separately."""


class Distribution:
    """The distribution of values over the buckets of a histogram.

    Attributes:
        bounds: Upper bounds in rising order; larger values have a bucket of their own.
        counts: Number of values in each bucket.
        total: Sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Series:
    """The counts of one queue and tool.

    Attributes:
        started: Number of attempts that started.
        ended: Number of attempts by how they ended: ``succeeded``, ``failed``, ``dead``, ``cancelled`` or ``retried``.
        durations: Seconds that ended attempts took.
        waits: Seconds for which their jobs had been ready before.
    """

    __slots__ = ("durations", "ended", "started", "waits")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.started = 0
        self.ended = dict.fromkeys(("succeeded", "failed", "dead", "cancelled", "retried"), 0)
        self.durations = Distribution(bounds)
        self.waits = Distribution(bounds)

    def end(self, how: str, seconds: float) -> None:
        """Count the end of an attempt."""
        self.ended[how] += 1
        durations = self.durations  # inlined, as in `start`: a call would cost as much as all the rest
        durations.counts[bisect_left(durations.bounds, seconds)] += 1
        durations.total += seconds


class Submissions:
    """Counts the jobs that a process has submitted, by queue and tool.

    Args:
        queues: Queues to count separately; None for all, up to ``MOST_SERIES`` pairs.
        tools: Tools to count separately; None as for queues.
    """

    def __init__(self, queues: Collection[str] | None = None, tools: Collection[str] | None = None) -> None:
        self._queues = None if queues is None else frozenset(queues)
        self._tools = None if tools is None else frozenset(tools)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def add(self, queue: str, tool: str, jobs: int = 1) -> None:
        """Count submitted jobs; called from any thread, since tools in threads have clients of their own."""
        if self._queues is not None and queue not in self._queues:
            queue = OTHER
        if self._tools is not None and tool not in self._tools:
            tool = OTHER
        pair = (queue, tool)
        with self._lock:
            if pair not in self._counts and len(self._counts) >= MOST_SERIES:
                pair = (OTHER, OTHER)
            self._counts[pair] += jobs

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Number of jobs by queue and tool."""
        with self._lock:
            return dict(self._counts)


class Tally:
    """The counts of one worker.

    Args:
        queues: The queues that it consumes.
        tools: Names of its tools and message types.
        bounds: Bucket bounds of the histograms.

    Attributes:
        submissions: Jobs that its tools submit.
    """

    def __init__(self, queues: Collection[str], tools: Collection[str], bounds: tuple[float, ...] = BUCKETS) -> None:
        self._queues = frozenset(queues)
        self._tools = frozenset(tools)
        self._bounds = bounds
        self._series: dict[tuple[str, str], Series] = {}
        self.submissions = Submissions(queues, tools)
        if len(self._queues) * len(self._tools) <= MOST_INITIAL_SERIES:
            for queue in self._queues:
                for tool in self._tools:
                    self._add(queue, tool)

    def start(self, job: ClaimedJob, tool: str) -> Series:
        """Count the start of an attempt; return the series in which to count its end."""
        series = self._series.get((job.queue, tool)) or self._add(job.queue, tool)
        series.started += 1
        waited, waits = job.waited, series.waits
        waits.counts[bisect_left(waits.bounds, waited)] += 1
        waits.total += waited
        return series

    def count_dead(self, queue: str, tool: str) -> None:
        """Count a job that became a dead letter without having run."""
        self._add(queue, tool).ended["dead"] += 1

    @property
    def series(self) -> dict[tuple[str, str], Series]:
        """All series by queue and tool."""
        return {pair: series for pair, series in list(self._series.items()) if queue_of(pair[0]) == pair[0]}

    def _add(self, queue: str, tool: str) -> Series:
        whole = queue_of(queue)
        pair = (
            whole if whole in self._queues else OTHER,
            tool if tool in self._tools or tool == UNKNOWN else OTHER,
        )
        if pair not in self._series:
            self._series[pair] = Series(self._bounds)
        if queue != whole and pair == (whole, tool):  # from now on the partition finds its queue's series directly
            self._series[queue, tool] = self._series[pair]
        return self._series[pair]


counting: ContextVar[Submissions | None] = ContextVar("counting", default=None)
"""Where clients in this context count submitted jobs by default: a worker sets it to count the jobs that its tools
submit."""
