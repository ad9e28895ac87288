"""Logs for people: one line for each record on stderr, and below it the traceback if there is one."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from taskserver.observability.printable import one_line, printable
from taskserver.observability.redaction import redact

LEVELS = ("debug", "info", "warning", "error")

_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


class LineFormatter(logging.Formatter):
    """Time, level, message; what a tool logs ends with its job and attempt.

    Args:
        colour: Whether levels may be coloured.
    """

    default_msec_format = "%s.%03d"

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__(datefmt=None)
        self.default_time_format = "%H:%M:%S"
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One record; a message of several lines is joined, so that none can pass for a record of its own."""
        line = f"{self.formatTime(record)} {self._level(record)} {one_line(redact(record.getMessage()))}"
        if job := getattr(record, "job_id", None):
            line += " " + one_line(f"[job {job}, attempt {getattr(record, 'attempt', '?')}]")
        if record.exc_info or record.exc_text:  # the text alone, if it was logged in another process
            text = self.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
            trace = printable(redact(text))
            line += "".join(f"\n    {below}" for below in trace.splitlines())
        return line

    def _level(self, record: logging.LogRecord) -> str:
        word = f"{record.levelname.lower():<8}"
        colour = _COLOURS.get(record.levelno) if self._colour else None
        return f"\x1b[{colour}m{word}\x1b[0m" if colour else word


def configure(level: str, stream: TextIO | None = None) -> None:
    """Log everything from ``level`` on, of this package, of tools and of what they use.

    Args:
        level: One of ``LEVELS``.
        stream: Where to; stderr unless said otherwise.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(colour=stream.isatty() and not os.environ.get("NO_COLOR")))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
