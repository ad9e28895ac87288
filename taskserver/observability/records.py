"""Reads log records without ever failing, whatever they contain.

Text is cut only after secrets in it were masked: part of a secret would not be found.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any

from taskserver.observability.redaction import log_context, redact

MESSAGE_CHARACTERS = 32_000
TRACE_CHARACTERS = 32_000
FIELD_CHARACTERS = 1_000
"""Maximum length of a logger's name, and of each field about the attempt that logs."""

ATTEMPT_FIELDS = ("job_id", "attempt", "tool", "queue", "worker")
"""Fields about the attempt that logs, in this order."""


def message_of(record: logging.LogRecord) -> str:
    """The message with its arguments, or both separately if formatting fails; secrets are masked."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - wrong arguments, or their own methods raise
        text = f"{as_text(record.msg)} {as_text(record.args)}"
    return cut(redact(text), MESSAGE_CHARACTERS)


def attempt_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Job, attempt, tool, queue and worker of the attempt that logs; empty if it is not logged by one.

    The record's own fields take precedence: they can be set with ``extra``.
    """
    context = log_context.get()
    known = dict(context.attempt_fields()) if context is not None else {}
    if "job_id" not in known and not hasattr(record, "job_id"):
        return {}
    fields = {name: getattr(record, name, known.get(name)) for name in ATTEMPT_FIELDS}
    return {name: field_text(value) for name, value in fields.items() if value is not None}


def field_text(value: object) -> Any:
    """A number as it is, anything else as text; secrets are masked."""
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    return cut(redact(as_text(value)), FIELD_CHARACTERS)


def trace_of(record: logging.LogRecord) -> Iterator[str]:
    """The record's traceback, and its stack if there is one; secrets are masked."""
    if record.exc_info and record.exc_info[1] is not None:
        try:
            yield _trace("".join(traceback.format_exception(record.exc_info[1])).rstrip())
        except Exception:  # noqa: BLE001 - an exception's own methods may raise anything
            yield f"{record.exc_info[0]} (its traceback cannot be shown)"
    elif record.exc_text:
        yield _trace(record.exc_text)
    if record.stack_info:
        yield _trace(record.stack_info)


def _trace(text: str) -> str:
    return cut(redact(text), TRACE_CHARACTERS)


def as_text(value: object) -> str:
    """Any object as text."""
    try:
        return value if type(value) is str else str(value)
    except Exception:  # noqa: BLE001 - its own methods may raise anything
        return f"({type(value).__name__} that cannot be shown)"


def cut(text: str, limit: int) -> str:
    """The first ``limit`` characters of the text, and a note on how many are left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} characters left out)"
