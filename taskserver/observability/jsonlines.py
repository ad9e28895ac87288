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
"""How long, how wide and how deep the extra fields of a record may be; what is beyond is left out."""

_USUAL = {
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
    """One object a line.

    ============================================== ====================================================================
    field                                          what it holds
    ============================================== ====================================================================
    ``time``                                       when it was logged, RFC 3339, in UTC, with milliseconds
    ``level``, ``logger``, ``message``             as they are; the message with its arguments
    ``job_id``, ``attempt``, ``tool``, ``queue``,  of the attempt that logs, if one does
    ``worker``
    ``exception``                                  the traceback, if there is one, as one text
    ``extra``                                      an object with what was logged besides, if anything
    ============================================== ====================================================================
    """

    def format(self, record: logging.LogRecord) -> str:
        """One record. Whatever is in it, this gives one line of JSON."""
        fields: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
            **attempt_fields(record),
        }
        if trace := "\n".join(trace_of(record)):
            fields["exception"] = trace
        told = {name: _plain(value, 0, limit=None) for name, value in fields.items()}
        if extra := {name: value for name, value in vars(record).items() if name not in _USUAL}:
            told["extra"] = _plain(extra, DEPTH)
        return json_text(told, indent=0)


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
    """A secret's value is masked by its name."""
    try:
        items = [(as_text(name), item) for _, (name, item) in zip(range(ITEMS), mapping.items(), strict=False)]
    except Exception:  # noqa: BLE001 - somebody's own kind of mapping
        return {}
    return {
        cut(redact(name), VALUE_CHARACTERS): MASK if name in _NAMES and item is not None else _plain(item, depth)
        for name, item in items
    }
