"""Relays progress, output and log records from a tool process to its worker."""

from __future__ import annotations

import logging
from typing import Any

from taskserver.domain.events import Report
from taskserver.tools.processes.wire import MOST_CHARACTERS, Logged, Reported, WorkerLink

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Relay:
    """Knows which job is running.

    Attributes:
        number: Number of the job; 0 between jobs.
    """

    def __init__(self, link: WorkerLink) -> None:
        self.link = link
        self.number = 0

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


def relay_logs(link: WorkerLink, level: int) -> None:
    """Send all log records of this process from ``level`` on to the worker."""
    logging.basicConfig(level=level, handlers=[_RelayHandler(link)], force=True)


class _RelayHandler(logging.Handler):
    """Sends records. Messages are formatted here, since their arguments may be of any type."""

    def __init__(self, link: WorkerLink) -> None:
        super().__init__()
        self._link = link
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._link.send(self._logged(record))
        except Exception:  # noqa: BLE001 - a log record must not make its job fail
            return

    def _logged(self, record: logging.LogRecord) -> Logged:
        trace = self._formatter.formatException(record.exc_info) if record.exc_info else record.exc_text
        return Logged(
            record.name,
            record.levelno,
            _text(record.getMessage()) or "",
            _text(trace),
            record.created,
            record.pathname,
            record.lineno,
            record.funcName,
            {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD},
        )


def _text(text: str | None) -> str | None:
    """The text, valid as UTF-8 and of limited length."""
    return text and text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, (int, float, bool)) else _text(str(value))
