"""Events of a running job: progress reports and pieces of output, and what readers have to know between them.

A *cursor* is the id of an event's stream entry: milliseconds since 1970, ``-``, and a number of 64 bits. Its upper 40
bits are the event's number among all of its job's, from 1; its lower 24 are the last three letters of the job's key. So
a reader notices which events it has missed, and a cursor of another job.

Workers of earlier versions add events with other numbers. Those say nothing about what was missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

import msgspec
from msgspec import structs

from taskserver.domain.for_pydantic import ForPydantic
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
    ATTEMPT = "attempt"
    """What follows is of another attempt: its output begins again."""


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


class Event(ForPydantic, frozen=True, kw_only=True, eq=False):
    """One event of a job, as ``Job.events()`` yields it.

    ``print(event, end="")`` prints output as it is, and everything else on a line of its own.

    Attributes:
        cursor: Its position; ``events(after=cursor)`` continues after it, in any process.
        kind: Progress, output, a gap, or another attempt.
        attempt: Number of the attempt that reported it.
        text: The text of the progress, or the piece of output; for a gap, a line that says how many events are missing;
            for another attempt, a line with its number.
        progress: From 0 to 1; None for output.
        at: Seconds since 1970 by the broker's clock.
        missing: How many events are missing here; 0 if this is not a gap.
        inside_line: Whether the output before it has left its line unfinished. Comparisons leave it out: it depends on
            where the reader began.
    """

    cursor: str
    kind: EventKind
    attempt: int
    text: str
    progress: float | None
    at: float
    missing: int = 0
    inside_line: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and structs.astuple(self)[:-1] == structs.astuple(other)[:-1]

    def __hash__(self) -> int:
        return hash((self.cursor, self.kind))

    def __str__(self) -> str:
        if self.kind is EventKind.OUTPUT:
            return self.text
        line = self.text
        if self.kind is EventKind.PROGRESS:
            line = f"[{self.progress or 0:4.0%}] {' '.join(self.text.splitlines())}".rstrip() + "\n"
        return f"\n{line}" if self.inside_line else line


class EventSequence:
    """Completes events that are read one after the other: notices other attempts, and lines that are left unfinished.

    Args:
        attempt: The attempt of the event before; None if that is not known.
    """

    def __init__(self, attempt: int | None) -> None:
        self._attempt = attempt
        self._inside_line = False

    def completed(self, event: Event) -> Iterator[Event]:
        """The event, after one that says so if it is of another attempt."""
        if event.attempt:  # 0 is one that cannot be read
            if self._attempt not in (None, event.attempt):
                yield self._placed(_attempt_before(event))
            self._attempt = event.attempt
        yield self._placed(event)

    def _placed(self, event: Event) -> Event:
        placed = structs.replace(event, inside_line=True) if self._inside_line else event
        if event.kind is not EventKind.OUTPUT:
            self._inside_line = False
        elif event.text:
            self._inside_line = not event.text.endswith("\n")
        return placed


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


def just_below(cursor: str) -> str | None:
    """The cursor right below a valid one; None if that is before the first event."""
    time, _, sequence = cursor.partition("-")
    if int(sequence or 0):
        return f"{time}-{int(sequence) - 1}"
    return f"{int(time) - 1}-{_LARGEST}" if int(time) else None


def number_of(job: JobRef, cursor: str) -> int | None:
    """The number of the event at a cursor; None if a worker of an earlier version has added it."""
    number, letters = divmod(int(cursor.partition("-")[2]), _LETTERS)
    return number if number and letters == int.from_bytes(job.key[-3:].encode(), "big") else None


def gap_before(event: Event, missing: int) -> Event:
    """The gap in place of the events that are missing before this one. Reading on after it does not find it again."""
    what = "event is" if missing == 1 else "events are"
    return Event(
        cursor=_cursor_before(event),
        kind=EventKind.GAP,
        attempt=event.attempt,
        text=f"[{missing:,} {what} missing here]\n",
        progress=None,
        at=event.at,
        missing=missing,
    )


def _attempt_before(event: Event) -> Event:
    return Event(
        cursor=_cursor_before(event),
        kind=EventKind.ATTEMPT,
        attempt=event.attempt,
        text=f"-- attempt {event.attempt} --\n",
        progress=None,
        at=event.at,
    )


def _cursor_before(event: Event) -> str:
    """A cursor after which the event is the first; for those of earlier versions, a millisecond may hold others too."""
    time, _, sequence = event.cursor.partition("-")
    if int(sequence) >= _LETTERS:
        return f"{time}-{int(sequence) - _LETTERS}"
    return f"{int(time) - 1}-{_LETTERS - 1}"
