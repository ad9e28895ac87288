"""The attempt that logs: log lines contain its fields, and its secrets are masked.

A worker sets the context once for each attempt. It applies to the attempt's task, to tasks and threads started with its
context, and to every handler with one of our formatters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from taskserver.domain.secrets import without_passwords


class LogContext(Protocol):
    """The attempt that logs; both methods are called only when something is logged."""

    def attempt_fields(self) -> Mapping[str, Any]:
        """Job id, attempt, tool, queue and worker."""

    def redact(self) -> Callable[[str], str]:
        """A function that masks the attempt's secrets in text."""


log_context: ContextVar[LogContext | None] = ContextVar("log_context", default=None)
"""The attempt that logs in this context."""


def redact(text: str) -> str:
    """The text with the current attempt's secrets masked, and users and passwords in URLs."""
    context = log_context.get()
    return without_passwords(text) if context is None else context.redact()(text)
