"""Logs for machines: each record is one JSON object on one line."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from taskserver.domain.secrets import MASK, SecretNames
from taskserver.observability.printable import json_text
from taskserver.observability.records import as_text, attempt_fields, cut, message_of, trace_of
from taskserver.observability.redaction import redact

VALUE_CHARACTERS = 2_000
ITEMS = 50
DEPTH = 4
"""Maximum length, number of items and depth of a record's extra fields; the rest is left out."""

_STANDARD = {
    *vars(logging.makeLogRecord({})),
    "message",
    "asctime",
    "taskName",
    "job_id",
    "attempt",
    "tool",
    "queue",
    "worker",
}
_NAMES = SecretNames()


class JsonFormatter(logging.Formatter):
    """One JSON object on each line.

    ============================================== ====================================================================
    field                                          what it holds
    ============================================== ====================================================================
    ``time``                                       when it was logged, RFC 3339, in UTC, with milliseconds
    ``level``, ``logger``, ``message``             of the record; the message with its arguments
    ``job_id``, ``attempt``, ``tool``, ``queue``,  of the attempt that logged it, if any
    ``worker``
    ``exception``                                  the traceback as one string, if there is one
    ``extra``                                      an object with all other fields, if there are any
    ============================================== ====================================================================
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format one record: always one line of JSON, whatever the record contains."""
        fields: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
            **attempt_fields(record),
        }
        if trace := "\n".join(trace_of(record)):
            fields["exception"] = trace
        line = {name: _plain(value, 0, limit=None) for name, value in fields.items()}
        if extra := {name: value for name, value in vars(record).items() if name not in _STANDARD}:
            line["extra"] = _plain(extra, DEPTH)
        return json_text(line, indent=0)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any, depth: int, limit: int | None = VALUE_CHARACTERS) -> Any:
    """Plain data of bounded size, without secrets."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) < 1 << 63:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if depth and isinstance(value, Mapping):
        return _object(value, depth - 1)
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth - 1) for _, item in zip(range(ITEMS), value, strict=False)]
    text = redact(as_text(value))
    text = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    return text if limit is None else cut(text, limit)


def _object(mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """Mask the values of secret fields."""
    try:
        items = [(as_text(name), item) for _, (name, item) in zip(range(ITEMS), mapping.items(), strict=False)]
    except Exception:  # noqa: BLE001 - a mapping of any type may raise anything
        return {}
    return {
        cut(redact(name), VALUE_CHARACTERS): MASK if name in _NAMES and item is not None else _plain(item, depth)
        for name, item in items
    }
