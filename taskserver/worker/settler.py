"""Settling: brings what attempts report and how they ended to the broker, batch by batch.

One batch is on its way at a time; what is added meanwhile makes the next one. So an idle worker settles at once, and a
busy one settles many with one script call. A settlement is kept and sent again until the broker has taken it: the fence
makes that safe.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple, TypeVar

from taskserver.domain.retry import backoff
from taskserver.domain.settlement import DeferLimits, Finish, PackedReport, Release, Settlement
from taskserver.errors import BrokerDenied, BrokerError, BrokerFull, BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.settle import settle
from taskserver.worker.service import LoopService

BATCH = 500
BATCH_BYTES = 1024 * 1024
REPORTS_ROOM = 1_000
"""Reports that may wait for the broker before tools that report more are slowed down."""

log = logging.getLogger("taskserver.worker")

T = TypeVar("T")


class _Kept(NamedTuple):
    """Reports and settlements that are to be sent again, and why."""

    reports: list[PackedReport]
    settlements: list[Settlement]
    denied: BrokerDenied | None = None


class Settler(LoopService):
    """Brings the reports and settlements of one partition to the broker, reports first.

    Args:
        broker: Where.
        queue: The partition.
        limits: How long jobs are kept that no worker can run.
        worker: Name of the worker whose attempts it settles.

    Attributes:
        reporting: To be held while a report is numbered and added.
        worker: As given.
        batches: Batches with settlements that the broker has taken.
        delivered: Settlements in them.
    """

    def __init__(self, broker: Broker, queue: str, limits: DeferLimits, worker: str = "") -> None:
        super().__init__()
        self.name = f"settler of {queue}"
        self._broker = broker
        self._queue = queue
        self._limits = limits
        self.reporting = threading.Lock()
        self.worker = worker
        self.batches = 0
        self.delivered = 0
        self._reports: deque[PackedReport] = deque()
        self._settlements: deque[Settlement] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._thread_room = threading.Event()
        self._thread_room.set()
        self._event_loop = asyncio.get_running_loop()

    @property
    def backlog(self) -> int:
        """Settlements that the broker does not have yet."""
        return len(self._settlements)

    @property
    def unsettled(self) -> list[tuple[str, int]]:
        """Key and fence of the attempts whose settlement the broker does not have yet. From any thread."""
        return [(settlement.key, settlement.fence) for settlement in tuple(self._settlements)]

    def settle(self, settlement: Settlement) -> None:
        """Take a settlement. From the event loop's thread only."""
        self._settlements.append(settlement)
        self._wake.set()

    def report(self, report: PackedReport) -> bool:
        """Take a report, from any thread; False if the tool should wait for ``room``."""
        self._reports.append(report)
        full = len(self._reports) >= REPORTS_ROOM
        if full:
            self._thread_room.clear()
        self._event_loop.call_soon_threadsafe(self._note_report)
        return not full

    async def room(self) -> None:
        """Wait until there is room for reports."""
        await self._room.wait()

    def wait_for_room(self, seconds: float) -> bool:
        """The same in a thread, for at most so many seconds; False if there is no room yet."""
        return self._thread_room.wait(seconds)

    async def turn(self) -> None:
        """Send one batch."""
        await self._wake.wait()
        # What ends in the same turn of the event loop comes along. And the next claim goes first: the server is at work
        # for it while the ends are packed, and at work for those while the claimed jobs run.
        await asyncio.sleep(0)
        await self._send()

    async def interrupt(self) -> None:
        """Wake the loop, so that it sees the stop."""
        self._wake.set()

    async def stop(self) -> None:
        """Send what is left, and end. Cancelled, it gives up what the broker has not taken."""
        try:
            await super().stop()
            await self._send_all()
        finally:
            if self.backlog:
                log.warning(
                    "queue %s: %d settlements did not reach the broker; their jobs will run again",
                    *(self._queue, self.backlog),
                )
            self._open()

    async def _send_all(self) -> None:
        failures = 0
        while self._reports or self._settlements:
            try:
                await self._send()
            except BrokerError as error:
                failures += 1
                log.debug("%s: %s", self.name, error)
                await asyncio.sleep(backoff(failures))

    def _note_report(self) -> None:
        if len(self._reports) >= REPORTS_ROOM:
            self._room.clear()
        self._wake.set()

    async def _send(self) -> None:
        """Send a batch. It leaves the queue here only when the broker has it, so nothing is lost on the way."""
        reports = self._next_reports()
        settlements = self._next_settlements(unsent=islice(tuple(self._reports), len(reports), None))
        kept = await self._deliver(reports, settlements) if reports or settlements else _Kept([], [])
        if settlements:
            self.batches += 1
            self.delivered += len(settlements) - len(kept.settlements)
        for _ in reports:
            self._reports.popleft()
        for settlement in settlements:
            self._settlements.remove(settlement)  # found at once: they are the first ones
        self._reports.extendleft(reversed(kept.reports))
        self._settlements.extend(kept.settlements)  # behind the others, which must not wait for them
        if len(self._reports) < REPORTS_ROOM // 2:
            self._open()
        if not self._reports and not self._settlements and not self.stopping:
            self._wake.clear()
        if kept.denied is not None:
            raise kept.denied

    async def _deliver(self, reports: list[PackedReport], settlements: list[Settlement]) -> _Kept:
        """Send some; those that are to be sent again, because this user has no right to write them.

        Raises:
            BrokerUnavailable, BrokerFull: if all must be sent again.
        """
        kept = _Kept([], [])
        try:
            refused = await settle(self._broker, self._queue, reports, settlements, self._limits)
        except (BrokerUnavailable, BrokerFull):
            raise
        except BrokerError as error:
            if len(reports) + len(settlements) > 1:
                return await self._deliver_one_by_one(reports, settlements)
            if isinstance(error, BrokerDenied):  # somebody may give the right back
                return _Kept(reports, settlements, error)
            log.error("job %s-%s: %s", self._queue, (reports or settlements)[0].key, error)
            return kept
        for refusal in refused:
            log.warning("job %s-%s: its outcome came too late and is dropped (%s)", self._queue, *refusal)
        return kept

    async def _deliver_one_by_one(self, reports: list[PackedReport], settlements: list[Settlement]) -> _Kept:
        """The broker refuses something about one of the jobs: the others must not wait for it."""
        found = [await self._deliver([report], []) for report in reports]
        found += [await self._deliver([], [settlement]) for settlement in settlements]
        return _Kept(
            [report for each in found for report in each.reports],
            [settlement for each in found for settlement in each.settlements],
            next((each.denied for each in found if each.denied), None),
        )

    def _next_settlements(self, unsent: Iterable[PackedReport]) -> list[Settlement]:
        """The next settlements, but for those of jobs with reports that have not been sent yet."""
        held = {report.key for report in unsent}
        ready = [settlement for settlement in islice(self._settlements, BATCH) if settlement.key not in held]
        return _bounded(ready, _size)

    def _next_reports(self) -> list[PackedReport]:
        return _bounded(islice(tuple(self._reports), BATCH), lambda report: len(report.report))

    def _open(self) -> None:
        self._room.set()
        self._thread_room.set()


def _size(settlement: Settlement) -> int:
    """Bytes of its result or error."""
    if isinstance(settlement, Finish):
        return len(settlement.data)
    return 0 if isinstance(settlement, Release) else len(settlement.error)


def _bounded(items: Iterable[T], size_of: Callable[[T], int]) -> list[T]:
    """As many of the items as fit into ``BATCH_BYTES``, but at least one: a larger one goes alone."""
    size, some = 0, list[T]()
    for item in items:
        size += size_of(item)
        if some and size > BATCH_BYTES:
            break
        some.append(item)
    return some
