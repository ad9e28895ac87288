"""Logs on stderr, one line for each record, for people or for machines.

Records that are logged by an attempt, in its task or in threads and tasks that it starts with its context, contain the
attempt's job, number, tool, queue and worker; nothing has to be passed around.

Only the commands of this package call ``configure``. A program that uses it as a library keeps its own handlers, and
can use these formatters with them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from taskserver.observability.jsonlines import JsonFormatter
from taskserver.observability.printable import one_line, printable
from taskserver.observability.records import attempt_fields, message_of, trace_of
from taskserver.own_loggers import print_own_lines

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
_MACHINERY = "taskserver.worker"
"""This logger's messages already contain the job."""


class LineFormatter(logging.Formatter):
    """Time, level and message; records of an attempt end with its job, number, tool, queue and worker.

    Args:
        colour: Whether to colour levels.
    """

    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__(datefmt=None)
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; the lines of a message are joined, so that none looks like a record of its own."""
        line = f"{self.formatTime(record)} {self._level(record)} {one_line(message_of(record))}"
        if record.name != _MACHINERY and (known := attempt_fields(record)):
            line += " " + one_line(f"[{_pairs(known)}]")
        for trace in trace_of(record):
            line += "".join(f"\n    {below}" for below in printable(trace).splitlines())
        return line

    def _level(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower():<8}"
        colour = _COLOURS.get(record.levelno) if self._colour else None
        return f"\x1b[{colour}m{level}\x1b[0m" if colour else level


class _OwnHandler(logging.StreamHandler[TextIO]):
    """Our own handler, which is replaced when logging is configured again."""


def configure(level: str, form: str = "text", stream: TextIO | None = None) -> None:
    """Log everything from ``level`` on: from this package, from tools and from libraries. Replaces earlier calls.

    Modules may configure logging after this; what this package logs still comes, and as it is configured here.

    Args:
        level: One of ``LEVELS``.
        form: One of ``FORMATS``.
        stream: Stream to log to; stderr by default.
    """
    stream = stream or sys.stderr
    handler = _OwnHandler(stream)
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter(colour=colour))
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each, _OwnHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())
    print_own_lines(handler, level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _pairs(known: Mapping[str, Any]) -> str:
    return " ".join(f"{name.removesuffix('_id')}={value}" for name, value in known.items())
