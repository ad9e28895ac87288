"""Who logs: the running attempt is told in each line, and its secrets stay out of all of them.

Whoever runs an attempt says so once; that holds for its task, for tasks and threads that these start with their
context, and for every handler with one of our formatters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from taskserver.domain.secrets import without_passwords


class LogContext(Protocol):
    """Who logs, and knows secrets that are not to be logged."""

    def attempt_fields(self) -> Mapping[str, Any]:
        """Job id, attempt, tool, queue and worker; asked for only when something is logged."""

    def redact(self) -> Callable[[str], str]:
        """What takes them out of texts; asked for only when something is logged."""


log_context: ContextVar[LogContext | None] = ContextVar("log_context", default=None)
"""Set it to whoever logs in this context from now on."""


def redact(text: str) -> str:
    """The text without the secrets of the attempt that says it, and without users and passwords of URLs."""
    context = log_context.get()
    return without_passwords(text) if context is None else context.redact()(text)
