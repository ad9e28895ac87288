"""Events of a running job: progress reports and pieces of output.

A *cursor* is the id of an event's stream entry: milliseconds since 1970, ``-``, and a number of 64 bits. Its upper 40
bits are the event's number among all of its job's, from 1; its lower 24 are the last three letters of the job's key. So
a reader notices which events it has missed, and a cursor of another job.

Workers of earlier versions add events with other numbers. Those say nothing about what was missed.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from taskserver.domain.ids import JobRef
from taskserver.errors import ConfigError

EVENTS_KEPT = 2_000
"""About how many events are kept per job; older ones are trimmed."""
START = "0"
"""The cursor before the first event."""

_CURSOR = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
_LETTERS = 1 << 24
_LARGEST = 2**64 - 1


class EventKind(StrEnum):
    """The kind of an event."""

    PROGRESS = "progress"
    """How far the attempt has come."""
    OUTPUT = "output"
    """A piece of the attempt's output."""
    GAP = "gap"
    """Events are missing here: the reader came too late for them."""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """A report of a running tool, as it is stored.

    Attributes:
        kind: Progress or output.
        text: The text of the progress, or the piece of output.
        progress: From 0 to 1; None for output.
    """

    kind: EventKind
    text: str
    progress: float | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a job, as ``Job.events()`` yields it; it prints as its text.

    Attributes:
        cursor: Its position; ``events(after=cursor)`` continues after it, in any process.
        kind: Progress, output, or a gap.
        attempt: Number of the attempt that reported it.
        text: The text of the progress, or the piece of output; for a gap, a line that says how many events are missing.
        progress: From 0 to 1; None for output.
        at: Seconds since 1970 by the broker's clock.
        missing: How many events are missing here; 0 if this is not a gap.
    """

    cursor: str
    kind: EventKind
    attempt: int
    text: str
    progress: float | None
    at: float
    missing: int = 0

    def __str__(self) -> str:
        return self.text


def number_after(job: JobRef, cursor: str) -> int | None:
    """The number of the event that follows the cursor; None if the cursor does not say.

    Raises:
        ConfigError: if it is not a cursor, or one of another job.
    """
    if cursor in (START, "0-0"):
        return 1
    found = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if found is None or max(map(int, found.groups())) > _LARGEST:
        raise ConfigError(
            f"{cursor!r} is not a cursor: use the cursor of an event of this job, or {START!r} for the beginning"
        )
    number = number_of(job, cursor)
    if number is None and int(found[2]) >= _LETTERS:
        raise ConfigError(f"cursor {cursor!r} is one of another job, not of {job.id}")
    return None if number is None else number + 1


def number_of(job: JobRef, cursor: str) -> int | None:
    """The number of the event at a cursor; None if a worker of an earlier version has added it."""
    number, letters = divmod(int(cursor.partition("-")[2]), _LETTERS)
    return number if number and letters == int.from_bytes(job.key[-3:].encode(), "big") else None


def gap_before(event: Event, missing: int) -> Event:
    """The gap in place of the events that are missing before this one. Reading on after it does not find it again."""
    time, _, sequence = event.cursor.partition("-")
    what = "event is" if missing == 1 else "events are"
    return Event(
        cursor=f"{time}-{int(sequence) - _LETTERS}",
        kind=EventKind.GAP,
        attempt=event.attempt,
        text=f"[{missing:,} {what} missing: only the newest {EVENTS_KEPT:,} are kept]\n",
        progress=None,
        at=event.at,
        missing=missing,
    )
