"""Relays progress, output and log records from a tool process to its worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from taskserver.domain.events import Report
from taskserver.domain.secrets import without_passwords
from taskserver.own_loggers import print_own_lines
from taskserver.tools.processes.wire import LOGGED_CHARACTERS, Logged, Reported, WorkerLink

FIELD_CHARACTERS = 16
"""What a field of a record takes besides its texts."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Relay:
    """Knows which job is running.

    Attributes:
        number: Number of the job; 0 between jobs.
        redact: Masks secrets of this job, or of the last one, whose threads may still log.
    """

    def __init__(self, link: WorkerLink) -> None:
        self.link = link
        self.number = 0
        self.redact: Callable[[str], str] = without_passwords

    def of(self, number: int) -> JobSink:
        """The sink for a job's reports."""
        return JobSink(self, number)


class JobSink:
    """Takes the reports of one job (``tools.context.Sink``); while the worker is busy, sending blocks."""

    def __init__(self, relay: Relay, number: int) -> None:
        self._relay = relay
        self._number = number

    def put(self, report: Report) -> bool:
        """Send it at once; reports from a thread that outlived its job are dropped."""
        if self._relay.number == self._number:
            self._relay.link.send(Reported(self._number, report))
        return True

    async def room(self) -> None:
        """There is always room."""

    def wait_for_room(self) -> None:
        """There is always room."""


def relay_logs(relay: Relay, level: int) -> None:
    """Send all log records of this process from ``level`` on to the worker."""
    handler = _RelayHandler(relay)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    print_own_lines(handler, level)


class _RelayHandler(logging.Handler):
    """Sends records. Messages are formatted here, since their arguments may be of any type."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._relay.link.send(self._logged(record))
        except Exception:  # noqa: BLE001 - a log record must not make its job fail
            return

    def _logged(self, record: logging.LogRecord) -> Logged:
        trace = self._formatter.formatException(record.exc_info) if record.exc_info else record.exc_text
        room = _FrameRoom(self._relay.redact)
        return Logged(
            room.text(record.name),
            record.levelno,
            room.text(record.getMessage()),
            trace and room.text(trace),
            record.created,
            room.text(record.pathname),
            record.lineno,
            record.funcName and room.text(record.funcName),
            room.fields({name: value for name, value in vars(record).items() if name not in _STANDARD}),
        )


class _FrameRoom:
    """What one record may take of a frame, all its texts together.

    Secrets are masked here and not only by the worker, because what is too long is cut: half a secret is not found.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._left = LOGGED_CHARACTERS

    def text(self, text: str) -> str:
        """The start of the text, valid as UTF-8."""
        kept = self._redact(text)[: self._left].encode("utf-8", "replace").decode()
        self._left -= len(kept)
        return kept

    def fields(self, extra: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
        """The first of the fields; each takes some room, whatever is in it."""
        kept: dict[str, str | int | float | bool | None] = {}
        for name, value in extra.items():
            if self._left <= 0:
                break
            kept[self.text(name)] = self._plain(value)
            self._left -= FIELD_CHARACTERS
        return kept

    def _plain(self, value: Any) -> str | int | float | bool | None:
        if value is None or isinstance(value, (float, bool)):
            return value
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return value
        return self.text(str(value))
