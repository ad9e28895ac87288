"""What a worker sends to the broker about an attempt: how it ended, and its reports before that.

Each contains the job's key and the attempt's fence; the broker refuses those whose fence is no longer the newest.
"""

from __future__ import annotations

from typing import NamedTuple

from taskserver.domain.job import State


class Finish(NamedTuple):
    """The job ended.

    Attributes:
        key: The job's key.
        fence: The attempt's fence.
        attempts: Number of attempts spent.
        state: The state in which it ended.
        data: The packed result or ``Failure``.
        entry: The stream entry by which it was claimed.
        summary: The packed summary that replaces the message of a job that succeeded; empty to keep the message.
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
    """This worker cannot run the job, but another may; ``error`` is a packed ``Failure`` that says why."""

    key: str
    fence: int
    error: bytes


Settlement = Finish | Retry | Release | Defer


class PackedReport(NamedTuple):
    """A packed ``Report`` of a running attempt, its ``number``-th; ``progress`` is packed too, empty for output."""

    key: str
    fence: int
    attempt: int
    number: int
    report: bytes
    progress: bytes


class Refusal(NamedTuple):
    """A settlement that the broker refused because it is ``stale`` or the job is ``gone``."""

    key: str
    reason: str


class DeferLimits(NamedTuple):
    """How long jobs that no worker can run are kept for one that can, in milliseconds."""

    total_ms: int
    shortest_ms: int = 1_000
    longest_ms: int = 15_000
