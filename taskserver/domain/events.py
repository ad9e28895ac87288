"""What a running job tells about itself: progress, and output piece by piece."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """What an event says."""

    PROGRESS = "progress"
    """How far the attempt is."""
    OUTPUT = "output"
    """A piece of its output."""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What the tool said, as it is stored.

    Attributes:
        kind: Progress or output.
        text: The words of the progress, or the piece of output.
        progress: From 0 to 1; None for output.
    """

    kind: EventKind
    text: str
    progress: float | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a job, as ``Job.events()`` yields it; it prints as its text.

    Attributes:
        cursor: Its place; ``events(after=cursor)`` goes on behind it, in any process.
        kind: Progress or output.
        attempt: The attempt that said it.
        text: What was said.
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
