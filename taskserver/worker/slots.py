"""The worker's slots, and how its queues share them.

A slot is room for one running attempt. A claim takes all that are free, to ask for exactly as many jobs.

Queues get slots by weight and within their limits, and the partitions of a queue take turns. A partition *wants* slots
from when its fetcher waits for one until a claim finds that nothing more is queued, and a queue does while one of its
partitions does. Each free slot goes to one of the queues that want one, in smooth weighted turns, so that over time
each gets its share and none waits for ever; inside a queue, partitions take plain turns. What nobody else wants,
anybody may have: no slot stays empty while a job waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from taskserver.domain.partitions import queue_of


class QueueShare(NamedTuple):
    """A queue's share in the slots of a worker.

    Attributes:
        queue: The queue.
        weight: While several queues have jobs waiting, each gets slots in proportion to it.
        limit: Jobs of it that run at once; None for as many as there are slots.
        partitions: Partitions that it is to have at least; None to leave that open.
    """

    queue: str
    weight: int = 1
    limit: int | None = None
    partitions: int | None = None


class Slots:
    """``size`` slots. A slot is taken before a job is claimed for it, and given back when nothing of it runs any more.

    The queues of a worker share them, so a claim must hold its slots already: between asking how many are free and
    taking them, another queue's jobs would take the same ones.

    Args:
        size: How many there are.
        jobs: How many jobs they are for in all, after which none is ever free again; None for no limit.

    Attributes:
        leaked: Slots that are held by threads that have outlived their attempts.
        used_up: Set once all the jobs have begun that the slots are for.
    """

    def __init__(self, size: int, jobs: int | None = None) -> None:
        self.size = size
        self.free = size
        self.leaked = 0
        self.used_up = asyncio.Event()
        self._left = jobs
        self._asked = 0

    @property
    def busy(self) -> int:
        """How many are taken."""
        return self.size - self.free

    def take(self) -> int:
        """Take all that are free, but for no more jobs than are left; return how many that were."""
        taken, self.free = self.free, 0
        if self._left is not None:
            self.free = max(0, taken - self._left)
            taken -= self.free
            self._left -= taken
            self._asked += taken
        return taken

    def give(self, count: int = 1) -> None:
        """Give slots back in which a job has run."""
        self.free += count

    def claimed(self, started: int, taken: int) -> None:
        """Give back those of the taken slots in which no job was started."""
        if self._left is not None:
            self._left += taken - started
            self._asked -= taken
            if self._left == 0 and self._asked == 0:
                self.used_up.set()
        self.free += taken - started


class FairSlots:
    """Deals the slots of a worker to the partitions that want some.

    Args:
        slots: What is shared.
        shares: Weights and limits of queues; those that are not named have the weight 1, and no limit.

    Attributes:
        alone: Whether there is only one partition.
    """

    def __init__(self, slots: Slots, shares: Iterable[QueueShare] = ()) -> None:
        self._slots = slots
        self._shares = {share.queue: share for share in shares}
        self._queues: dict[str, QueueTurns] = {}
        self.alone = True

    def add(self, partition: str) -> PartitionSlots:
        """Share with one more partition; where its fetcher takes slots."""
        queue = queue_of(partition)
        if queue not in self._queues:
            self._queues[queue] = QueueTurns(self._shares.get(queue, QueueShare(queue)))
        turns = self._queues[queue]
        turns.partitions.append(PartitionSlots(self, self._slots, turns))
        self.alone = len(self._queues) == len(turns.partitions) == 1
        return turns.partitions[-1]

    def deal(self) -> None:
        """Deal what is free; the queue whose turn it is has the highest credit."""
        if not self._slots.free:
            return
        wanting = [turns for turns in self._queues.values() if turns.wants]
        if not wanting:
            return
        free = self._slots.take()
        while free and wanting:
            if len(wanting) == 1:  # the usual case, for all at once: one by one, this would be a fifth of a job's cost
                free -= wanting[0].deal(free)
            else:
                free -= _next(wanting).deal(1)
            if free:
                wanting = [turns for turns in wanting if turns.wants]
        if free:
            self._slots.claimed(0, free)


def _next(wanting: list[QueueTurns]) -> QueueTurns:
    """The queue that gets the next slot. In as many slots as the weights add up to, each queue gets its weight."""
    for turns in wanting:
        turns.credit += turns.share.weight
    first = max(wanting, key=lambda turns: turns.credit)
    first.credit -= sum(turns.share.weight for turns in wanting)
    return first


class QueueTurns:
    """A queue's part in the slots, and whose turn it is among its partitions.

    Attributes:
        share: The queue's weight and limit.
        held: Slots that its partitions have.
        credit: How much of its share it has not had yet.
        partitions: The slots of its partitions; who had one goes to the end.
    """

    def __init__(self, share: QueueShare) -> None:
        self.share = share
        self.held = 0
        self.credit = 0
        self.partitions: list[PartitionSlots] = []

    @property
    def wants(self) -> bool:
        """Whether one of its partitions wants a slot, and may have it."""
        if self.share.limit is not None and self.held >= self.share.limit:
            return False
        for partition in self.partitions:  # noqa: SIM110 - a loop takes half the time of any(), and each job pays it where several partitions share
            if partition.wants:
                return True
        return False

    def deal(self, free: int) -> int:
        """Give slots to the partition whose turn it is: one, or as many as it may have if it is the only one.

        Returns:
            How many were given.
        """
        count = 1
        if len(self.partitions) == 1:
            partition = self.partitions[0]
            count = free if self.share.limit is None else min(free, self.share.limit - self.held)
        else:
            partition = next(each for each in self.partitions if each.wants)
            self.partitions.remove(partition)
            self.partitions.append(partition)
        self.held += count
        partition.receive(count)
        return count


class PartitionSlots:
    """One partition's part in the slots.

    Args:
        shared: Deals the slots.
        slots: What is shared.
        turns: Of the partition's queue.

    Attributes:
        wants: Whether there may be jobs for slots.
    """

    def __init__(self, shared: FairSlots, slots: Slots, turns: QueueTurns) -> None:
        self.wants = False
        self._shared = shared
        self._slots = slots
        self._turns = turns
        self._dealt = 0
        self._changed = asyncio.Event()

    def take(self) -> int:
        """Take the slots that were dealt to this partition; how many that were."""
        self.wants = True
        self._shared.deal()
        taken, self._dealt = self._dealt, 0
        self._changed.clear()
        return taken

    def claimed(self, started: int, taken: int, *, drained: bool) -> None:
        """Give back those of the taken slots in which no job was started.

        Args:
            started: How many jobs the claim brought.
            taken: For how many slots.
            drained: Whether nothing more is queued; else the partition still wants slots, and its queue keeps its turn.
        """
        unused = taken - started
        self._slots.claimed(started, taken)
        if unused:  # others may have what was dealt meanwhile, too
            self._slots.claimed(0, self._dealt)
            self._turns.held -= unused + self._dealt
            self._dealt = 0
            self.wants = not drained
            if not any(partition.wants for partition in self._turns.partitions):
                self._turns.credit = 0
            self._shared.deal()

    def give(self, count: int = 1) -> None:
        """Give slots back in which a job has run."""
        self._turns.held -= count
        self._slots.give(count)
        if not (self._dealt and self._shared.alone):  # else its fetcher is awake already, and nobody else wants slots
            self._shared.deal()

    async def wait(self) -> None:
        """Wait until a slot was dealt to this partition, or ``wake`` is called."""
        self.wants = True
        self._shared.deal()
        await self._changed.wait()

    def leave(self) -> None:
        """Want no more slots, and give back those that were dealt."""
        self.wants = False
        dealt, self._dealt = self._dealt, 0
        self._turns.held -= dealt
        self._slots.claimed(0, dealt)
        self._shared.deal()

    def wake(self) -> None:
        """End a ``wait``, whether or not there is a slot."""
        self._changed.set()

    def receive(self, count: int) -> None:
        """Take over slots that were dealt to this partition."""
        self._dealt += count
        self._changed.set()
