"""Logs for machines: each record is one JSON object on one line."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from taskserver.domain.secrets import MASK, SecretNames
from taskserver.observability.printable import json_text
from taskserver.observability.records import as_text, attempt_fields, cut, field_text, message_of, trace_of
from taskserver.observability.redaction import redact

VALUE_CHARACTERS = 2_000
ITEMS = 50
DEPTH = 4
"""Maximum length, number of items and depth of a record's extra fields; the rest is left out."""
EXTRA_CHARACTERS = 32_000
"""Maximum number of characters in a record's extra fields together."""

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
            "logger": field_text(record.name),
            "message": message_of(record),
            **attempt_fields(record),
        }
        if trace := "\n".join(trace_of(record)):
            fields["exception"] = trace
        line = {name: _safe(value) if isinstance(value, str) else value for name, value in fields.items()}
        if extra := {name: value for name, value in vars(record).items() if name not in _STANDARD}:
            line["extra"] = _LineRoom().plain(extra, DEPTH)
        return json_text(line, indent=0)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _safe(text: str) -> str:
    """The text as it can be encoded; ``records.py`` has masked and cut it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class _LineRoom:
    """What a record's extra fields may take of its line, all of them together."""

    def __init__(self) -> None:
        self._left = EXTRA_CHARACTERS

    def plain(self, value: Any, depth: int) -> Any:
        """Plain data of bounded size, without secrets; each item takes some room, whatever it is."""
        self._left -= 2
        if value is None or isinstance(value, bool):
            return value
        if type(value) is int and abs(value) < 1 << 63:
            return value
        if type(value) is float and math.isfinite(value):
            return value
        if depth and isinstance(value, Mapping):
            return self._object(value, depth - 1)
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [self.plain(item, depth - 1) for item in self._while_there_is_room(value)]
        return self._text(as_text(value))

    def _text(self, text: str) -> str:
        kept = _safe(cut(redact(text), max(0, min(VALUE_CHARACTERS, self._left))))
        self._left -= len(kept)
        return kept

    def _while_there_is_room(self, items: Iterable[Any]) -> Iterator[Any]:
        return (item for item in islice(items, ITEMS) if self._left > 0)

    def _object(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        """Mask the values of secret fields."""
        try:
            items = list(islice(mapping.items(), ITEMS))
        except Exception:  # noqa: BLE001 - a mapping of any type may raise anything
            return {}
        found = {}
        for key, item in self._while_there_is_room(items):
            name = as_text(key)
            found[self._text(name)] = MASK if name in _NAMES and item is not None else self.plain(item, depth)
        return found
