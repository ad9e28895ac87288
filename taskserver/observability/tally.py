"""Counting what a process does, at the price of a few additions of whole numbers for each job.

The hot path adds here; what is served is worked out when somebody asks (``observability/metrics.py``). One thread
adds, and any thread reads: a reading may be one job behind itself, and is right again at the next one.

Names that come from elsewhere could be any, and each would be a series for ever. So a tally knows beforehand which
names it keeps apart, or how many: the others are counted together.
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
"""Stands for a queue or tool that is none of those kept apart."""
UNKNOWN = "unknown"
"""Stands for the tool of a message that cannot be read."""
FORESEEN = 100
"""Pairs of queue and tool that are served before their first job: an increase from nothing is not seen as one."""
MOST_SERIES = 500
"""Pairs of queue and tool that a client's tally keeps apart."""


class Distribution:
    """How values are spread over buckets: for a histogram.

    Attributes:
        bounds: Upper bounds, rising; values beyond the last go into a bucket of their own.
        counts: Values in each bucket.
        total: Sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Series:
    """What a worker counts of one queue and tool.

    Attributes:
        started: Attempts that began.
        ended: How attempts ended: ``succeeded``, ``failed``, ``dead``, ``cancelled``, or ``retried``.
        durations: Seconds that the ended ones took.
        waits: Seconds for which their jobs had been ready before.
    """

    __slots__ = ("durations", "ended", "started", "waits")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.started = 0
        self.ended = dict.fromkeys(("succeeded", "failed", "dead", "cancelled", "retried"), 0)
        self.durations = Distribution(bounds)
        self.waits = Distribution(bounds)

    def end(self, how: str, seconds: float) -> None:
        """An attempt has ended."""
        self.ended[how] += 1
        durations = self.durations  # written out, as in `start`: a call costs as much as all the rest
        durations.counts[bisect_left(durations.bounds, seconds)] += 1
        durations.total += seconds


class Submissions:
    """Jobs that a process has submitted, by queue and tool.

    Args:
        queues: The queues to keep apart; None for whatever comes, up to ``MOST_SERIES`` pairs.
        tools: The same for tools.
    """

    def __init__(self, queues: Collection[str] | None = None, tools: Collection[str] | None = None) -> None:
        self._queues = None if queues is None else frozenset(queues)
        self._tools = None if tools is None else frozenset(tools)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def add(self, queue: str, tool: str, jobs: int = 1) -> None:
        """The broker has so many jobs more. From any thread: tools in threads have clients of their own."""
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
        """How many, by queue and tool."""
        with self._lock:
            return dict(self._counts)


class Tally:
    """What one worker counts.

    Args:
        queues: The queues that it works on.
        tools: Names of its tools, and of the message types that it consumes.
        bounds: Of the histograms' buckets.

    Attributes:
        submissions: What its tools submit.
    """

    def __init__(self, queues: Collection[str], tools: Collection[str], bounds: tuple[float, ...] = BUCKETS) -> None:
        self._queues = frozenset(queues)
        self._tools = frozenset(tools)
        self._bounds = bounds
        self._series: dict[tuple[str, str], Series] = {}
        self.submissions = Submissions(queues, tools)
        if len(self._queues) * len(self._tools) <= FORESEEN:
            for queue in self._queues:
                for tool in self._tools:
                    self._add(queue, tool)

    def start(self, job: ClaimedJob, tool: str) -> Series:
        """An attempt begins: where its end is to be told."""
        series = self._series.get((job.queue, tool)) or self._add(job.queue, tool)
        series.started += 1
        waited, waits = job.waited, series.waits
        waits.counts[bisect_left(waits.bounds, waited)] += 1
        waits.total += waited
        return series

    def count_dead(self, queue: str, tool: str) -> None:
        """A job became a dead letter without having been run."""
        self._add(queue, tool).ended["dead"] += 1

    @property
    def series(self) -> dict[tuple[str, str], Series]:
        """All of them, by queue and tool."""
        return {pair: series for pair, series in list(self._series.items()) if queue_of(pair[0]) == pair[0]}

    def _add(self, queue: str, tool: str) -> Series:
        whole = queue_of(queue)
        pair = (
            whole if whole in self._queues else OTHER,
            tool if tool in self._tools or tool == UNKNOWN else OTHER,
        )
        if pair not in self._series:
            self._series[pair] = Series(self._bounds)
        if queue != whole and pair == (whole, tool):  # a partition finds its queue's series at once from now on
            self._series[queue, tool] = self._series[pair]
        return self._series[pair]


counting: ContextVar[Submissions | None] = ContextVar("counting", default=None)
"""Where clients count what is submitted in this context, unless they were told another place: a worker sets it, so
that what its tools submit is counted."""
