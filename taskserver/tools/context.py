"""The context of an attempt: what a running tool may know of its job, and how it tells of its progress."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Generator, Iterator, MutableMapping
from typing import Any, Protocol

from taskserver.domain.events import EventKind, Report

PIECE_BYTES = 64 * 1024
"""Longest piece of output, in bytes of UTF-8; longer text is split."""
PROGRESS_CHARACTERS = 1000
"""Longest text of a progress report; the rest is cut off."""

_logger = logging.getLogger("taskserver.tool")


class Sink(Protocol):
    """Where a running attempt's reports go; the worker implements it."""

    def put(self, report: Report) -> bool:
        """Record the report at once, from any thread; False says that the buffer is full now."""

    async def room(self) -> None:
        """Wait until the broker has taken enough, on the event loop of the worker."""

    def wait_for_room(self) -> None:
        """Wait for the same in a thread."""


class Accepted:
    """A report that is recorded. Await it to wait for room, should the buffer be full; nothing is lost if not."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink

    def __await__(self) -> Generator[Any, None, None]:
        if self._sink is not None:
            yield from self._sink.room().__await__()


_ACCEPTED = Accepted()


class Context:
    """One attempt of a job, seen from inside the tool. Tools ask for it with a parameter ``ctx: Context``.

    Attributes:
        job_id: The job's whole id.
        queue: Its queue.
        attempt: Number of this attempt, from 1.
        max_attempts: Attempts at most.
        idempotency_key: The same for every attempt of the job: hand it to services that take one.
        session_id: As given at submit.
        tags: As given at submit.
        cancelled: True once the job was cancelled or timed out, the lease was lost, or the worker must stop.
            Async tools are interrupted besides; a tool in a thread has to look at it.
        outlived: For the worker: ends when a thread ends that went on behind a cancelled attempt; else None.
    """

    __slots__ = (
        "_log",
        "_loop_thread",
        "_sink",
        "attempt",
        "cancelled",
        "idempotency_key",
        "job_id",
        "max_attempts",
        "outlived",
        "queue",
        "session_id",
        "tags",
    )

    def __init__(
        self,
        *,
        job_id: str,
        queue: str,
        attempt: int,
        max_attempts: int,
        idempotency_key: str,
        sink: Sink,
        session_id: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        self.job_id = job_id
        self.queue = queue
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.idempotency_key = idempotency_key
        self.session_id = session_id
        self.tags = tags
        self.cancelled = False
        self.outlived: asyncio.Future[None] | None = None
        self._sink = sink
        self._loop_thread = threading.get_ident()
        self._log: ToolLogger | None = None

    def __repr__(self) -> str:
        return f"<Context of {self.job_id}, attempt {self.attempt} of {self.max_attempts}>"

    @property
    def logger(self) -> ToolLogger:
        """Logs to ``taskserver.tool``, each record with ``job_id`` and ``attempt``."""
        if self._log is None:
            self._log = ToolLogger(_logger, {"job_id": self.job_id, "attempt": self.attempt})
        return self._log

    def progress(self, fraction: float, text: str = "") -> Accepted:
        """Record how far the attempt is; the job's status, the dashboard and ``events()`` show it.

        Args:
            fraction: From 0 to 1.
            text: What is being done; cut off after 1000 characters.

        Returns:
            Await it in an async tool, so that a tool that reports faster than the broker takes waits. A tool in
            a thread just calls: there the call itself waits.

        Raises:
            ValueError: if ``fraction`` is not a number from 0 to 1, or ``text`` is not a string.
        """
        if not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1 or math.isnan(fraction):
            raise ValueError(f"progress takes a fraction from 0 to 1, not {fraction!r}")
        return self._put(Report(EventKind.PROGRESS, _clean(text)[:PROGRESS_CHARACTERS], float(fraction)))

    def emit(self, text: str) -> Accepted:
        """Record a piece of output for whoever follows the job; a text beyond 64 KiB becomes several pieces.

        Returns:
            Await it as with ``progress``.

        Raises:
            ValueError: if ``text`` is not a string.
        """
        accepted = _ACCEPTED
        for piece in _pieces(_clean(text)):
            accepted = self._put(Report(EventKind.OUTPUT, piece))
        return accepted

    def _put(self, report: Report) -> Accepted:
        if self._sink.put(report):
            return _ACCEPTED
        if threading.get_ident() == self._loop_thread:
            return Accepted(self._sink)
        # Nobody awaits what a thread is given, so the thread waits here; a cancelled one should end, not wait.
        if not self.cancelled:
            self._sink.wait_for_room()
        return _ACCEPTED

    def _cancel(self) -> None:
        """For the worker: tell the tool to stop."""
        self.cancelled = True


class ToolLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the job to every record, and leaves the caller's own ``extra`` in place."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the job's fields with those of the call."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def _clean(text: str) -> str:
    """The text with lone surrogates replaced: they have no UTF-8, and the report would break when it is stored."""
    if not isinstance(text, str):
        raise ValueError(f"expected text as a string, got {type(text).__name__}; use str() or JSON")
    return str(text) if text.isascii() else text.encode("utf-8", "replace").decode()


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most ``PIECE_BYTES``, cut between characters."""
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + PIECE_BYTES, len(data))
        # Bytes 10xxxxxx continue a character of UTF-8 (RFC 3629 section 3): step back to where one begins.
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[start:end].decode()
        start = end
