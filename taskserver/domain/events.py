"""Events of a running job: progress reports and pieces of output."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """The kind of an event."""

    PROGRESS = "progress"
    """How far the attempt has come."""
    OUTPUT = "output"
    """A piece of the attempt's output."""


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
        kind: Progress or output.
        attempt: Number of the attempt that reported it.
        text: The text of the progress, or the piece of output.
        progress: From 0 to 1; None for output.
        at: Seconds since 1970 by the broker's clock.
    """

    cursor: str
    kind: EventKind
    attempt: int
    text: str
    progress: float | None
    at: float

    def __str__(self) -> str:
        return self.text
