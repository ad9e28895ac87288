"""Fetching: claims jobs for free slots, and waits at the broker when there are none."""

from __future__ import annotations

import asyncio
import logging

from taskserver.domain.lanes import LaneShare
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.jobs.claim import BlockingReader, StreamEntry, claim
from taskserver.store.jobs.recover import recall
from taskserver.worker.attempt import Attempt
from taskserver.worker.executor import Executor
from taskserver.worker.fair_slots import PartitionSlots
from taskserver.worker.maintenance.janitor import Janitor
from taskserver.worker.service import LoopService
from taskserver.worker.settler import Settler
from taskserver.worker.slots import Slots

BACKLOG = 1_000
"""Settlements that may wait for the broker before no more jobs are claimed."""
PAUSED_SECONDS = 1.0
"""How soon a paused queue is looked at again if the word that it goes on was lost."""

log = logging.getLogger("taskserver.worker")


class Fetcher(LoopService):
    """Claims the jobs of one queue.

    It never asks for more than there are free slots, so no job waits in a worker while another is idle.

    Attributes:
        claims: Claims that brought jobs.
        claimed: Jobs that they brought.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        worker: str,
        *,
        slots: Slots | PartitionSlots,
        executor: Executor,
        settler: Settler,
        janitor: Janitor,
        attempts_cap: int,
    ) -> None:
        super().__init__()
        self.name = f"fetcher of {queue}"
        self._broker = broker
        self._queue = queue
        self._worker = worker
        self.claims = 0
        self.claimed = 0
        self._slots = slots
        self._executor = executor
        self._settler = settler
        self._janitor = janitor
        self._attempts_cap = attempts_cap
        self._share = LaneShare()
        self._wake_up = BlockingReader(broker, queue, worker)
        self._read: list[StreamEntry] = []
        self._unanswered = False
        self._word = asyncio.Event()

    async def turn(self) -> None:
        """Wait for a free slot, claim as many jobs as there are, and wait for more when that was not all.

        What the last read brought does not wait for a slot: if there is none, the claim gives it back to others.
        """
        if not self._read:
            await self._slots.wait()
        if self.stopping:
            return
        if self._settler.backlog > BACKLOG:
            await self.rest(0.05)
            return
        if self._unanswered:
            await self._recall()
        try:
            await self._claim()
        except GroupMissing:
            log.warning("the groups of queue %s are gone: making them anew", self._queue)
            await self._broker.prepare(self._queue, again=True)
            self._janitor.hurry()  # the streams may be gone too
            self._unanswered = True  # the claim may have begun jobs before it came to the lane without a group
        except Exception:  # not answered, or no memory to start with what it brought
            self._unanswered = True
            raise

    async def _claim(self) -> None:
        wanted = self._slots.take()
        if not wanted and not self._read:
            return
        paused, fewer = await self._begin(wanted)
        if paused:
            self._word.clear()
            await self.rest(PAUSED_SECONDS, until=self._word)
        elif fewer and not self.stopping:
            self._read = await self._wake_up.read()

    async def _begin(self, wanted: int) -> tuple[bool, bool]:
        """Claim and begin so many jobs: whether the queue is paused, and whether nothing more is queued.

        Its frame holds the jobs with their messages, so it must not wait for others.
        """
        read, self._read = self._read, []
        attempts: list[Attempt] = []
        started = 0
        try:
            claimed = await claim(
                self._broker, self._queue, self._worker, self._share.next(wanted), self._attempts_cap, read
            )
            attempts = self._executor.admit(claimed.jobs, self._slots, self._settler)
            for attempt in attempts:
                self._executor.begin(attempt)
                started += 1
        finally:
            self._executor.dismiss(attempts[started:])
            self._slots.claimed(started, wanted)
        if started:
            self.claims += 1
            self.claimed += started
        for entry, reason in claimed.discarded:
            log.warning("queue %s: threw away stream entry %s: %s", self._queue, entry, reason)
        return claimed.paused, len(claimed.jobs) < wanted and not claimed.discarded

    async def _recall(self) -> None:
        """The last claim or read was not answered: it may have brought jobs that nobody runs."""
        running = [attempt.job.key for attempt in self._executor.running if attempt.job.queue == self._queue]
        returned = await recall(self._broker, self._queue, self._worker, running + self._settler.unsettled)
        if returned:
            log.warning("%d jobs of a claim that was not answered are queued again", len(returned))
        self._unanswered = False

    def share(self, slots: Slots | PartitionSlots) -> None:
        """Take slots from there from now on: others want some of them too."""
        before, self._slots = self._slots, slots
        before.wake()

    def go_on(self) -> None:
        """The queue is not paused any more."""
        self._word.set()

    async def interrupt(self) -> None:
        """Make a waiting turn return: one that waits for a slot, for a paused queue, or in a blocking read."""
        self._slots.wake()
        self._word.set()
        try:
            await self._wake_up.interrupt()
        except BrokerError as error:
            log.debug("%s: %s", self.name, error)

    async def stop(self) -> None:
        """Claim no more, and give back what the last read brought."""
        await super().stop()
        if self._read:
            read, self._read = self._read, []
            try:
                await claim(self._broker, self._queue, self._worker, (0, 0, 0), self._attempts_cap, read)
            except BrokerError as error:
                log.warning("%s: entries come back when their lease runs out: %s", self.name, error)
