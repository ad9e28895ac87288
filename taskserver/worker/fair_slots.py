"""Slots that several queues share by weight, that one queue may only have a part of, or that its partitions share.

A partition *wants* slots from when its fetcher waits for one until a claim finds that nothing more is queued, and a
queue does while one of its partitions does. Each free slot goes to one of the queues that want one, in smooth weighted
turns, so that over time each gets its share and none waits for ever; inside a queue, partitions take plain turns. What
nobody else wants, anybody may have: no slot stays empty while a job waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from taskserver.domain.partitions import queue_of
from taskserver.worker.slots import QueueShare, Slots


class FairSlots:
    """For each partition, where its fetcher takes slots.

    Args:
        slots: What is shared.
        shares: Weights and limits of queues; those that are not named have the weight 1, and no limit.

    Attributes:
        taken_from: By partition: its portion, or the slots themselves as long as there is nothing to share.
    """

    def __init__(self, slots: Slots, shares: Iterable[QueueShare] = ()) -> None:
        self._slots = slots
        self._shares = {share.queue: share for share in shares}
        self._turns: dict[str, QueueTurns] = {}
        self._places: dict[str, Slots | PartitionSlots] = {}

    @property
    def taken_from(self) -> Mapping[str, Slots | PartitionSlots]:
        """Grows with ``add``."""
        return self._places

    def add(self, partitions: Iterable[str]) -> None:
        """Share with more partitions. Fetchers that had the slots for themselves must look up theirs again."""
        names = [*self._places, *(name for name in partitions if name not in self._places)]
        if len(names) == 1 and self._share(queue_of(names[0])).limit is None:
            self._places[names[0]] = self._slots
            return
        for name in names:
            place = self._places.get(name)
            if not isinstance(place, PartitionSlots):
                turns = self._turns.setdefault(queue_of(name), QueueTurns(self._share(queue_of(name))))
                turns.held += 0 if place is None else self._slots.busy  # all that are taken are its own so far
                self._places[name] = PartitionSlots(self._slots, turns, self._turns.values())

    def _share(self, queue: str) -> QueueShare:
        return self._shares.get(queue, QueueShare(queue))


class QueueTurns:
    """A queue's part in the slots, and whose turn it is among its partitions.

    Attributes:
        share: The queue's weight and limit.
        held: Slots that its partitions have.
        credit: How far it is behind its share.
        portions: Its partitions; who had a slot goes to the end.
    """

    def __init__(self, share: QueueShare) -> None:
        self.share = share
        self.held = 0
        self.credit = 0
        self.portions: list[PartitionSlots] = []

    @property
    def wants(self) -> bool:
        """Whether one of its partitions wants a slot, and may have it."""
        if self.share.limit is not None and self.held >= self.share.limit:
            return False
        return any(portion.wants for portion in self.portions)

    def next(self) -> PartitionSlots:
        """The partition that gets the next slot."""
        position = next(i for i, portion in enumerate(self.portions) if portion.wants)
        portion = self.portions.pop(position)
        self.portions.append(portion)
        return portion


class PartitionSlots:
    """One partition's part in the slots; to be used as ``Slots`` are.

    Args:
        slots: What is shared.
        turns: Of the partition's queue.
        everybody: All queues that share the slots, this one among them.

    Attributes:
        wants: Whether there may be jobs for slots.
    """

    def __init__(self, slots: Slots, turns: QueueTurns, everybody: Iterable[QueueTurns]) -> None:
        self.wants = False
        self._slots = slots
        self._turns = turns
        self._everybody = everybody
        self._dealt = 0
        self._changed = asyncio.Event()
        turns.portions.append(self)

    def take(self) -> int:
        """Take the slots that were dealt to this partition; how many that were."""
        self.wants = True
        self._deal()
        taken, self._dealt = self._dealt, 0
        self._changed.clear()
        return taken

    def claimed(self, started: int, taken: int) -> None:
        """So many jobs were started in the slots that were taken for them; the others are given back."""
        unused = taken - started
        self._slots.claimed(started, taken)
        if unused:  # nothing more is queued: others may have what was dealt meanwhile
            self._slots.claimed(0, self._dealt)
            self._turns.held -= unused + self._dealt
            self._dealt = 0
            self.wants = False
            if not any(portion.wants for portion in self._turns.portions):
                self._turns.credit = 0
            self._deal()

    def give(self, count: int = 1) -> None:
        """Give slots back in which a job has run."""
        self._turns.held -= count
        self._slots.give(count)
        self._deal()

    async def wait(self) -> None:
        """Wait until a slot was dealt to this partition, or ``wake`` is called."""
        self.wants = True
        self._deal()
        await self._changed.wait()

    def wake(self) -> None:
        """Wake who waits, whether or not there is a slot."""
        self._changed.set()

    def _deal(self) -> None:
        """Deal what is free, one by one; the queue whose turn it is has the highest credit."""
        if not self._slots.free or not any(turns.wants for turns in self._everybody):
            return
        free = self._slots.take()
        for dealt in range(free):
            wanting = [turns for turns in self._everybody if turns.wants]
            if not wanting:
                self._slots.claimed(0, free - dealt)
                return
            for turns in wanting:
                turns.credit += turns.share.weight
            first = max(wanting, key=lambda turns: turns.credit)
            first.credit -= sum(turns.share.weight for turns in wanting)
            first.held += 1
            first.next().deal()

    def deal(self) -> None:
        """One of the slots is this partition's."""
        self._dealt += 1
        self._changed.set()
