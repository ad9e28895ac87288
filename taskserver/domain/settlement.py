"""What a worker tells the broker about an attempt: how it ended, or what happened on the way.

Each carries the job's key and the attempt's fence; the broker refuses those whose fence is no longer the newest.
"""

from __future__ import annotations

from typing import NamedTuple

from taskserver.domain.job import State


class Finish(NamedTuple):
    """The job ended.

    Attributes:
        key: Which.
        fence: Of the attempt.
        attempts: How many it has spent.
        state: How it ended.
        data: The packed result or ``Failure``.
        entry: The stream entry by which it was claimed.
        summary: What is kept of the message of a job that succeeded, packed; empty to keep it whole.
    """

    key: str
    fence: int
    attempts: int
    state: State
    data: bytes
    entry: bytes
    summary: bytes = b""


class Retry(NamedTuple):
    """The attempt failed and another follows after ``delay_ms``; ``error`` is a packed ``Failure``."""

    key: str
    fence: int
    delay_ms: int
    error: bytes


class Release(NamedTuple):
    """The worker stops and hands the job back; the attempt is not spent."""

    key: str
    fence: int


class Defer(NamedTuple):
    """This worker cannot run the job, another may; ``error`` is a packed ``Failure`` that says why."""

    key: str
    fence: int
    error: bytes


Settlement = Finish | Retry | Release | Defer


class PackedReport(NamedTuple):
    """Progress or output of a running attempt: the ``number``-th of it; ``progress`` is packed, empty for output."""

    key: str
    fence: int
    attempt: int
    number: int
    report: bytes
    progress: bytes


class Refusal(NamedTuple):
    """A settlement that the broker did not take: ``stale`` or ``gone``."""

    key: str
    reason: str


class DeferLimits(NamedTuple):
    """How long jobs that no worker can run are kept for one that can, in milliseconds."""

    total_ms: int
    shortest_ms: int = 1_000
    longest_ms: int = 15_000
