"""One attempt while this worker has it: what is known of it, when its time is over, and where it is settled."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any

import msgspec

from taskserver.config.settings import secret_names
from taskserver.domain.events import EventKind, Report
from taskserver.domain.ids import job_id
from taskserver.domain.job import ClaimedJob
from taskserver.domain.messages import Envelope
from taskserver.domain.partitions import queue_of
from taskserver.domain.secrets import Redactor, SecretNames, secret_values
from taskserver.domain.settlement import Finish, PackedReport, Retry, Settlement
from taskserver.observability.tally import Series
from taskserver.tools import Context
from taskserver.worker.outcome import Opened, StopReason
from taskserver.worker.settler import Settler
from taskserver.worker.slots import PartitionSlots

ROOM_SECONDS = 0.5
PER_SECOND = 20
"""Timers in a second, at most; an attempt ends up to a twentieth of a second late."""

_encode = msgspec.msgpack.Encoder().encode


class Attempt:
    """A claimed job on this worker: it takes its tool's reports, and is settled at most once.

    Attributes:
        job: The job, with the number and the fence of this attempt.
        id: The job's whole id.
        slots: Where its slot is given back.
        settler: Where its reports and its settlement go.
        started: When it was claimed, by ``time.monotonic``.
        label: Name of its tool or message type, once that is known.
        stop: Why it was stopped; None if it was not.
        settled: Whether it was settled, or is another worker's by now.
        deadline: When its time is over, by ``time.monotonic``; None for never.
        task: What runs it, until that ends.
        context: What its tool has of it, until the task ends.
        envelope: The message as it was sent, once that was read.
        opened: The message and its plan, once they are known.
        series: Where its end is counted; None if it is not.
    """

    __slots__ = (
        "_begun",
        "_numbered",
        "_redactor",
        "context",
        "deadline",
        "envelope",
        "id",
        "job",
        "label",
        "opened",
        "series",
        "settled",
        "settler",
        "slots",
        "started",
        "stop",
        "task",
    )

    def __init__(self, job: ClaimedJob, slots: PartitionSlots, settler: Settler, started: float) -> None:
        self.job = job
        self.id = job_id(job.queue, job.key)
        self.slots = slots
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
        self._redactor: Redactor | None = None
        self.series: Series | None = None
        self._numbered = 0
        self._begun = False

    def begin(self) -> None:
        """Note that its task has begun.

        Raises:
            CancelledError: if it was stopped before that.
        """
        self._begun = True
        if self.stop is not None:
            raise asyncio.CancelledError

    def attempt_fields(self) -> dict[str, Any]:
        """The fields of every line that its tool logs."""
        return {
            "job_id": self.id,
            "attempt": self.job.attempt,
            "tool": self.label,
            "queue": queue_of(self.job.queue),
            "worker": self.settler.worker,
        }

    def redact(self) -> Redactor:
        """What takes the secrets of its message out of a text. Made when it is first needed, which is rarely."""
        if self._redactor is None:
            declared = self.opened.plan.secrets if self.opened else ()
            self._redactor = Redactor(_secrets(self.envelope, declared) if self.envelope else ())
        return self._redactor

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

    def settle(self, settlement: Settlement | None) -> bool:
        """Hand the settlement in, unless that was done before; with None, nothing is ever written for this attempt.

        Returns:
            Whether this settled it.
        """
        if self.settled:
            return False
        self.settled = True
        if settlement is None:
            return True
        self.settler.settle(settlement)
        if self.series is not None:
            seconds = time.monotonic() - self.started
            if isinstance(settlement, Finish):
                self.series.end(settlement.state, seconds)
            elif isinstance(settlement, Retry):
                self.series.end("retried", seconds)
        return True

    def let_go(self) -> asyncio.Future[None] | None:
        """Forget what refers back to the attempt, now that its task ends: a circle waits for the garbage collector.

        Returns:
            What ends with the thread that outlived the attempt; None if there is no such thread.
        """
        outlived = self.context.outlived if self.context is not None else None
        self.task = self.context = None
        return outlived

    def end(self, why: StopReason) -> None:
        """Stop the attempt; the first reason counts."""
        if self.stop is None and self.task is not None:
            self.stop = why
            if self.context is not None:
                self.context._cancel()
            if self._begun:  # a task that is cancelled before it began never runs, not even to give its slot back
                self.task.cancel()


class Deadlines:
    """Calls ``over`` with each attempt whose time is over and that has not been discarded.

    An event loop timer for each attempt costs more than everything else about its timeout, and hardly any of them ever
    rings. So attempts whose time is over within the same twentieth of a second share one.
    """

    def __init__(self, over: Callable[[Attempt], None]) -> None:
        self._over = over
        self._due: dict[int, set[Attempt]] = {}
        self._context = copy_context()  # a timer that took the attempt's own would keep it until it rings

    def add(self, attempt: Attempt, seconds: float) -> None:
        """Give an attempt this many seconds from now."""
        attempt.deadline = time.monotonic() + seconds
        tick = math.ceil(attempt.deadline * PER_SECOND)
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = set()
            delay = tick / PER_SECOND - time.monotonic()
            asyncio.get_running_loop().call_later(delay, self._ring, tick, context=self._context)
        due.add(attempt)

    def discard(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended; harmless if it had no deadline."""
        if attempt.deadline is not None and (due := self._due.get(math.ceil(attempt.deadline * PER_SECOND))):
            due.discard(attempt)

    def _ring(self, tick: int) -> None:
        for attempt in self._due.pop(tick):
            self._over(attempt)


def _secrets(envelope: Envelope, declared: Iterable[str]) -> Iterable[str]:
    """The secret values in a message."""
    try:
        plain = msgspec.msgpack.decode(envelope.body)
    except Exception:  # noqa: BLE001 - anybody may have written it; what cannot be read holds no secret of ours
        return ()
    return secret_values(plain, SecretNames((*envelope.secrets, *declared, *secret_names())))
