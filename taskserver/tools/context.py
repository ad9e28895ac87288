"""The context of an attempt: what a running tool may know about its job, and how it reports progress and output."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Generator, Iterator, MutableMapping
from typing import Any, Protocol

from taskserver.domain.events import EventKind, Report

PIECE_BYTES = 64 * 1024
"""Maximum size of a piece of output, in bytes of UTF-8; longer text is split."""
PROGRESS_CHARACTERS = 1000
"""Maximum length of the text of a progress report; the rest is cut off."""

_logger = logging.getLogger("taskserver.tool")


class Sink(Protocol):
    """Where a running attempt's reports go; the worker implements it."""

    def put(self, report: Report) -> bool:
        """Record the report at once, from any thread; return False if the buffer is full now."""

    async def room(self) -> None:
        """Wait until the buffer has room, on the worker's event loop."""

    def wait_for_room(self) -> None:
        """Wait until the buffer has room, in a thread."""


class Accepted:
    """A recorded report. Await it to wait while the buffer is full; nothing is lost if you do not."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink

    def __await__(self) -> Generator[Any, None, None]:
        if self._sink is not None:
            yield from self._sink.room().__await__()


_ACCEPTED = Accepted()


class Context:
    """One attempt of a job, as the tool sees it. A tool gets it through a parameter ``ctx: Context``.

    Attributes:
        job_id: The job's whole id.
        queue: Its queue.
        attempt: Number of this attempt, from 1.
        max_attempts: Maximum number of attempts.
        idempotency_key: The same in every attempt of the job: pass it to services that accept one.
        session_id: As given at submit.
        tags: As given at submit.
        cancelled: True once the job was cancelled or timed out, the lease was lost, or the worker has to stop.
            Async tools are also interrupted; a tool in a thread has to check this attribute.
        outlived: For the worker: completes when a thread that outlived its cancelled attempt has ended; or None.
    """

    __slots__ = (
        "_log",
        "_loop_thread",
        "_secrets",
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
        secrets: tuple[str, ...] = (),
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
        self._secrets = secrets
        self._loop_thread = threading.get_ident()
        self._log: ToolLogger | None = None

    def __repr__(self) -> str:
        return f"<Context of {self.job_id}, attempt {self.attempt} of {self.max_attempts}>"

    @property
    def logger(self) -> ToolLogger:
        """A logger named ``taskserver.tool`` that adds ``job_id`` and ``attempt`` to each record."""
        if self._log is None:
            self._log = ToolLogger(_logger, {"job_id": self.job_id, "attempt": self.attempt})
        return self._log

    def progress(self, fraction: float, text: str = "") -> Accepted:
        """Report how far the attempt has come; the job's status, the dashboard and ``events()`` show it.

        Args:
            fraction: From 0 to 1.
            text: What is being done; cut off after 1000 characters.

        Returns:
            Await this in an async tool, so that a tool that reports faster than the broker accepts waits. In a thread
            the call itself waits.

        Raises:
            ValueError: if ``fraction`` is not a number from 0 to 1, or ``text`` is not a string.
        """
        if not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1 or math.isnan(fraction):
            raise ValueError(f"progress must be a number between 0 and 1, not {fraction!r}")
        return self._put(Report(EventKind.PROGRESS, _clean(text)[:PROGRESS_CHARACTERS], float(fraction)))

    def emit(self, text: str) -> Accepted:
        """Report a piece of output; text of more than 64 KiB becomes several pieces.

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
        # A thread cannot await, so it waits here; a cancelled one should end instead of waiting.
        if not self.cancelled:
            self._sink.wait_for_room()
        return _ACCEPTED

    def _cancel(self) -> None:
        """For the worker: tell the tool to stop."""
        self.cancelled = True


class ToolLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the job to every record and keeps the caller's own ``extra``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the job's fields with the caller's."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def _clean(text: str) -> str:
    """The text with lone surrogates replaced: they cannot be encoded as UTF-8."""
    if not isinstance(text, str):
        raise ValueError(f"expected a string, got {type(text).__name__}; use str() or JSON")
    return str(text) if text.isascii() else text.encode("utf-8", "replace").decode()


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most ``PIECE_BYTES``, split between characters."""
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + PIECE_BYTES, len(data))
        # Bytes 10xxxxxx continue a character of UTF-8 (RFC 3629 section 3): step back to where one begins.
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[start:end].decode()
        start = end
