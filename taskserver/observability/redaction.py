"""Secrets of the running attempt stay out of what is logged while it runs.

Whoever runs an attempt says once what takes its secrets out of a text; that holds for its task, for tasks and
threads that these start with their context, and for every handler with our formatter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from taskserver.domain.secrets import without_passwords

_of_attempt: ContextVar[Callable[[], Callable[[str], str]] | None] = ContextVar("redactor", default=None)


def conceal(redactor: Callable[[], Callable[[str], str]]) -> None:
    """From now on, in this context, take out what the redactor does; it is asked for only when something is logged."""
    _of_attempt.set(redactor)


def redact(text: str) -> str:
    """The text without the secrets of the attempt that says it, and without users and passwords of URLs."""
    redactor = _of_attempt.get()
    return without_passwords(text) if redactor is None else redactor()(text)
