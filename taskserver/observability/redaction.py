"""Secrets of the running attempt stay out of what is logged while it runs.

Whoever runs an attempt says once what takes its secrets out of a text; that holds for its task, for tasks and
threads that these start with their context, and for every handler with our formatter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from taskserver.domain.secrets import without_passwords


class Discreet(Protocol):
    """Who knows secrets that are not to be logged."""

    def redact(self) -> Callable[[str], str]:
        """What takes them out of texts; asked for only when something is logged."""


speaking: ContextVar[Discreet | None] = ContextVar("speaking", default=None)
"""Set it to whoever's secrets are to stay out of what is logged in this context from now on."""


def redact(text: str) -> str:
    """The text without the secrets of the attempt that says it, and without users and passwords of URLs."""
    speaker = speaking.get()
    return without_passwords(text) if speaker is None else speaker.redact()(text)
