"""Fetching: claims jobs for free slots, and waits at the broker while no job is queued."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

from taskserver.domain.lanes import CYCLE, LaneQuotas, lane_quotas
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.jobs.claim import BlockingReader, StreamEntry, claim
from taskserver.store.jobs.recover import recall
from taskserver.worker.attempt import Attempt
from taskserver.worker.executor import Executor
from taskserver.worker.maintenance.janitor import Janitor
from taskserver.worker.pace import Pace
from taskserver.worker.service import LoopService
from taskserver.worker.settler import Settler
from taskserver.worker.slots import PartitionSlots

BACKLOG = 1_000
"""Settlements that may wait for the broker before no more jobs are claimed."""
FIRST = 10
"""Maximum number of jobs that the first claim asks for: it is not known how large their messages are."""
MOST = 1_000
"""Maximum number of jobs that one claim asks for."""
LOOK_SECONDS = 0.05
"""How often it looks whether the settler and the heartbeat have got through to the broker again."""
PAUSED_SECONDS = 1.0
"""How soon a paused queue is looked at again, in case the message that it was resumed was lost."""

log = logging.getLogger("taskserver.worker")


class Begun(NamedTuple):
    """What came of a claim.

    Attributes:
        paused: Whether the queue is paused.
        drained: Whether nothing more is queued.
    """

    paused: bool
    drained: bool


class Fetcher(LoopService):
    """Claims the jobs of one partition.

    It never asks for more jobs than there are free slots, so no job waits in a worker while another is idle.

    Args:
        broker: Where.
        queue: The partition.
        worker: Name of the worker.
        slots: Where jobs get their slots.
        executor: Runs them.
        settler: Settles them; while too much waits there, no more are claimed.
        janitor: Called when the queue's groups are gone.
        attempts_cap: Maximum attempts of a job whose submitter did not set any.
        pace: How often a paused queue is looked at.

    Attributes:
        claims: Claims that brought jobs.
        claimed: Jobs that they brought.
        claiming: Whether a claim is being answered: its jobs are this worker's, though it does not know them yet.
        leased_until: Until when the worker certainly counts as alive, by ``time.monotonic``. Later it claims nothing:
            jobs would be taken from it at once.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        worker: str,
        *,
        slots: PartitionSlots,
        executor: Executor,
        settler: Settler,
        janitor: Janitor,
        attempts_cap: int,
        pace: Pace,
    ) -> None:
        super().__init__()
        self.name = f"fetcher of {queue}"
        self._broker = broker
        self._queue = queue
        self._worker = worker
        self.claims = 0
        self.claimed = 0
        self.claiming = False
        self.leased_until = 0.0
        self._slots = slots
        self._executor = executor
        self._settler = settler
        self._janitor = janitor
        self._attempts_cap = attempts_cap
        self._pace = pace
        self._lane_turn = 0
        self._reader = BlockingReader(broker, queue, worker)
        self._entries: list[StreamEntry] = []
        self._unanswered = False
        self._room = FIRST
        self._resumed = asyncio.Event()

    async def turn(self) -> None:
        """Wait for a free slot, claim as many jobs as there are, and wait for more when that was not all.

        What the last read brought does not wait for a slot: if there is none, the claim gives it back to others.
        """
        if not self._entries:
            await self._slots.wait()
        if self.stopping:
            self._slots.leave()
            return
        if self._settler.backlog > BACKLOG or time.monotonic() > self.leased_until:
            self._slots.leave()
            await self.rest(LOOK_SECONDS)
            return
        if self._unanswered:
            self._slots.leave()  # the server of this partition may be away, but not those of others
            await self._recall()
        try:
            await self._claim()
        except GroupMissing:
            log.warning("the groups of queue %s are gone: creating them again", self._queue)
            await self._broker.prepare(self._queue, again=True)
            self._janitor.hurry()  # the streams may be gone too
            self._unanswered = True  # the claim may have begun jobs before it came to the lane without a group
        except Exception:  # not answered, or no memory to start with what it brought
            self._unanswered = True
            raise

    async def _claim(self) -> None:
        wanted = self._slots.take()
        if not wanted and not self._entries:
            return
        begun = await self._begin(wanted)
        if begun.paused:
            self._resumed.clear()
            await self.rest(self._pace.pause(PAUSED_SECONDS), until=self._resumed)
        elif begun.drained:
            while not self._entries and not self.stopping:  # nothing came: there is nothing to claim either
                self._entries = await self._reader.read()

    async def _begin(self, wanted: int) -> Begun:
        """Claim up to ``wanted`` jobs, and begin them.

        Its frame holds the jobs with their messages, so it must not wait for others.
        """
        entries, self._entries = self._entries, []
        room = self._room
        asked = min(wanted, room)
        quotas = lane_quotas(self._lane_turn, asked)
        self._lane_turn = (self._lane_turn + asked) % len(CYCLE)
        self._room = 1  # until this claim is answered: if its answer does not get through, the next one is smaller
        attempts: list[Attempt] = []
        drained = True  # for all that is known, should the claim fail
        self.claiming = True
        try:
            claimed = await claim(self._broker, self._queue, self._worker, quotas, self._attempts_cap, entries)
            drained = claimed.paused or claimed.drained
            self._room = min(claimed.room or room, MOST)
            attempts = self._executor.admit(claimed.jobs, self._slots, self._settler)
        finally:
            self.claiming = False
            # Before any begins: it may block the event loop at once.
            self._slots.claimed(len(attempts), wanted, drained=drained)
        if attempts:
            self.claims += 1
            self.claimed += len(attempts)
            self._executor.begin(attempts)
        for entry, reason in claimed.discarded:
            log.warning("queue %s: discarded stream entry %s: %s", self._queue, entry, reason)
        return Begun(claimed.paused, claimed.drained)

    async def _recall(self) -> None:
        """The last claim or read was not answered: it may have brought jobs that nobody runs."""
        held = [attempt.job.key for attempt in self._executor.running if attempt.job.queue == self._queue]
        held += [key for key, _ in self._settler.unsettled]
        returned = await recall(self._broker, self._queue, self._worker, held)
        if returned:
            log.warning("jobs of an unanswered claim requeued: %d", len(returned))
        self._unanswered = False

    def resume(self) -> None:
        """The queue is no longer paused: claim at once."""
        self._resumed.set()

    async def interrupt(self) -> None:
        """Make a turn return that waits: for a slot, for a paused queue to be resumed, or in a blocking read."""
        self._slots.wake()
        self._resumed.set()
        try:
            await self._reader.interrupt()
        except BrokerError as error:
            log.debug("%s: %s", self.name, error)

    async def stop(self) -> None:
        """Claim no more, and give back what the last read brought."""
        await super().stop()
        if self._entries:
            entries, self._entries = self._entries, []
            try:
                await claim(self._broker, self._queue, self._worker, LaneQuotas(0, 0, 0), self._attempts_cap, entries)
            except BrokerError as error:
                log.warning("%s: some jobs go back to the queue only when their lease runs out: %s", self.name, error)
