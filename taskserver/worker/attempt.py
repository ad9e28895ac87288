"""One attempt while it runs: what is known of it, and the one place where it is settled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from taskserver.config.settings import secret_names
from taskserver.domain.events import EventKind, Report
from taskserver.domain.job import ClaimedJob, Failure, State
from taskserver.domain.messages import BaseMessage, Envelope
from taskserver.domain.partitions import queue_of
from taskserver.domain.secrets import Redactor, SecretNames, secret_values
from taskserver.domain.settlement import Defer, Finish, PackedReport, Release, Retry, Settlement
from taskserver.observability.tally import Series
from taskserver.tools import BaseConsumer, Context, RunPlan
from taskserver.worker.settler import Settler

ROOM_SECONDS = 0.5

log = logging.getLogger("taskserver.worker")

_encode = msgspec.msgpack.Encoder().encode


class StopReason(Enum):
    """Why a running attempt is told to end."""

    CANCEL = "cancelled"
    """Somebody cancelled the job."""
    TIMEOUT = "timed out"
    """It took longer than it may."""
    LOST = "lost"
    """The lease went to another worker; nothing that this one writes counts any more."""
    RELEASE = "released"
    """The worker stops and hands the job back."""


class Opened(NamedTuple):
    """A job whose message has been read and whose consumer is known."""

    envelope: Envelope
    consumer: BaseConsumer[Any]
    message: BaseMessage
    plan: RunPlan
    max_attempts: int

    @property
    def limit(self) -> float | None:
        """Seconds that the attempt may take: as submitted, else as the tool says."""
        return self.envelope.timeout or self.plan.timeout

    def timed_out(self) -> TimeoutError:
        """The error of an attempt that took longer."""
        return TimeoutError(f"the attempt took longer than its timeout of {self.limit or 0:g} s")

    def verdict(self, attempt: int, error: BaseException) -> State | None:
        """The state that the job ends in when this attempt failed so; None if another attempt follows."""
        if not self._may_retry(error):
            return State.FAILED
        return State.DEAD if attempt >= self.max_attempts else None

    def _may_retry(self, error: BaseException) -> bool:
        try:
            return self.consumer.should_retry(error, self.message)
        except Exception:
            log.exception("%s: should_retry failed; the usual rule holds", self.plan.name)
            return BaseConsumer.should_retry(self.consumer, error, self.message)


class Attempt:
    """A claimed job on this worker. Where its tool's reports go, and settled at most once."""

    __slots__ = (
        "_begun",
        "_numbered",
        "context",
        "deadline",
        "envelope",
        "id",
        "job",
        "label",
        "opened",
        "redactor",
        "series",
        "settled",
        "settler",
        "started",
        "stop",
        "task",
    )

    def __init__(self, job: ClaimedJob, settler: Settler, started: float) -> None:
        self.job = job
        self.id = job.id
        self.settler = settler
        self.started = started
        self.label = ""
        self.stop: StopReason | None = None
        self.settled = False
        self.deadline: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.context: Context | None = None
        self.envelope: Envelope | None = None
        self.opened: Opened | None = None
        self.redactor: Redactor | None = None
        self.series: Series | None = None
        self._numbered = 0
        self._begun = False

    def begin(self) -> None:
        """Its task has begun.

        Raises:
            CancelledError: if it was told to end before.
        """
        self._begun = True
        if self.stop is not None:
            raise asyncio.CancelledError

    def attempt_fields(self) -> dict[str, Any]:
        """What each line that its tool logs tells of it."""
        return {
            "job_id": self.id,
            "attempt": self.job.attempt,
            "tool": self.label,
            "queue": queue_of(self.job.queue),
            "worker": self.settler.worker,
        }

    def redact(self) -> Redactor:
        """What takes the secrets of its message out of texts; worked out when it is first needed, which is rarely."""
        if self.redactor is None:
            declared = self.opened.plan.secrets if self.opened else ()
            self.redactor = Redactor(_secrets(self.envelope, declared) if self.envelope else ())
        return self.redactor

    def put(self, report: Report) -> bool:
        """Take a report of the tool, from any thread; False if it should wait for room (``tools.context.Sink``)."""
        if self.settled:
            return True
        progress = _encode((report.progress, report.text)) if report.kind is EventKind.PROGRESS else b""
        with self.settler.reporting:  # numbers must rise in the order in which reports go out
            self._numbered += 1
            return self.settler.report(
                PackedReport(self.job.key, self.job.fence, self.job.attempt, self._numbered, _encode(report), progress)
            )

    async def room(self) -> None:
        """Wait until the broker has taken enough reports."""
        await self.settler.room()

    def wait_for_room(self) -> None:
        """The same, in a thread; not for longer than the attempt lasts."""
        while not self.settled and not self.settler.wait_for_room(ROOM_SECONDS):
            continue

    def finish(self, state: State, data: bytes, attempts: int | None = None, summary: bytes = b"") -> None:
        """The job ends with this attempt; ``summary`` is all that is kept of its message, if it is not empty."""
        job = self.job
        spent = job.attempt if attempts is None else attempts
        self._settle(Finish(job.key, job.fence, spent, state, data, job.entry, summary), state)

    def retry(self, delay: float, failure: Failure) -> None:
        """Another attempt follows after ``delay`` seconds."""
        self._settle(Retry(self.job.key, self.job.fence, max(1, round(delay * 1000)), _encode(failure)), "retried")

    def release(self) -> None:
        """The job goes back, the attempt unspent."""
        self._settle(Release(self.job.key, self.job.fence))

    def defer(self, failure: Failure) -> None:
        """The job is left for a worker that can run it."""
        self._settle(Defer(self.job.key, self.job.fence, _encode(failure)))

    def abandon(self) -> None:
        """Nothing more is written for this attempt: it is another worker's now."""
        self.settled = True

    def _settle(self, settlement: Settlement, how: str = "") -> None:
        if not self.settled:
            self.settled = True
            self.settler.settle(settlement)
            if self.series is not None and how:
                self.series.end(how, time.monotonic() - self.started)

    def let_go(self) -> asyncio.Future[None] | None:
        """Its task ends: what knows the attempt is forgotten, or each would wait in a circle for the garbage collector.

        Returns:
            What ends with the thread that goes on behind the attempt; None if there is no such thread.
        """
        outlived = self.context.outlived if self.context is not None else None
        self.task = self.context = None
        return outlived

    def end(self, why: StopReason) -> None:
        """Tell the attempt to end; the first reason counts."""
        if self.stop is None and self.task is not None:
            self.stop = why
            if self.context is not None:
                self.context._cancel()
            if self._begun:  # a task that is cancelled before it began never runs, not even to give its slot back
                self.task.cancel()


def _secrets(envelope: Envelope, declared: Iterable[str]) -> Iterable[str]:
    """The secret values in a message."""
    try:
        plain = msgspec.msgpack.decode(envelope.body)
    except Exception:  # noqa: BLE001 - it is not vouched for; what cannot be read has not been told to anybody
        return ()
    return secret_values(plain, SecretNames((*envelope.secrets, *declared, *secret_names())))


def pack_failure(failure: Failure) -> bytes:
    """A failure as the broker keeps it."""
    return _encode(failure)
