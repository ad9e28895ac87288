"""What a tool tells while it runs in a process, on its way to the worker: progress, output and log lines."""

from __future__ import annotations

import logging
from typing import Any

from taskserver.domain.events import Report
from taskserver.tools.processes.wire import MOST_CHARACTERS, Logged, Reported, WorkerLink

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Relay:
    """Knows which job runs now.

    Attributes:
        number: Of the job; 0 between two.
    """

    def __init__(self, line: WorkerLink) -> None:
        self.line = line
        self.number = 0

    def of(self, number: int) -> JobSink:
        """Where the reports of a job go."""
        return JobSink(self, number)


class JobSink:
    """Takes the reports of one job (``tools.context.Sink``); when the worker is busy, the line makes them wait."""

    def __init__(self, telling: Relay, number: int) -> None:
        self._telling = telling
        self._number = number

    def put(self, report: Report) -> bool:
        """Tell it at once; what a thread says that outlived its job is dropped."""
        if self._telling.number == self._number:
            self._telling.line.send(Reported(self._number, report))
        return True

    async def room(self) -> None:
        """There is always room."""

    def wait_for_room(self) -> None:
        """There is always room."""


def relay_logs(line: WorkerLink, level: int) -> None:
    """Hand everything that is logged in this process from ``level`` on to the worker."""
    logging.basicConfig(level=level, handlers=[_RelayHandler(line)], force=True)


class _RelayHandler(logging.Handler):
    """Sends records. Their texts are made here: what they were made of may not be sent."""

    def __init__(self, line: WorkerLink) -> None:
        super().__init__()
        self._line = line
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line.send(self._logged(record))
        except Exception:  # noqa: BLE001 - a log line must not fail its job
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
    """What has a form in UTF-8, and is not endless."""
    return text and text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, (int, float, bool)) else _text(str(value))
