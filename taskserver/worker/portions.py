"""Slots that several queues share by weight, or that one queue may only have a part of.

A queue *wants* slots from when its fetcher waits for one until a claim finds that nothing more is queued. Each free
slot goes to one of the queues that want one, in smooth weighted turns, so that over time each gets its share and none
waits for ever. What nobody else wants, anybody may have: no slot stays empty while a job waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from taskserver.worker.slots import QueueShare, Slots


def shared(slots: Slots, queues: Iterable[str], shares: Iterable[QueueShare]) -> dict[str, Slots | Portion]:
    """For each queue, where its fetcher takes slots: from ``slots`` itself if there is nothing to share."""
    names = list(queues)
    known = {share.queue: share for share in shares}
    if len(names) == 1 and known.get(names[0], QueueShare("")).limit is None:
        return {names[0]: slots}
    portions: list[Portion] = []
    for name in names:
        portions.append(Portion(slots, portions, known.get(name, QueueShare(name))))
    return {portion.share.queue: portion for portion in portions}


class Portion:
    """One queue's part in the slots; to be used as ``Slots`` are.

    Args:
        slots: What is shared.
        siblings: All who share it, this one among them.
        share: The queue's weight and limit.
    """

    def __init__(self, slots: Slots, siblings: list[Portion], share: QueueShare) -> None:
        self.share = share
        self._slots = slots
        self._siblings = siblings
        self._wants = False
        self._credit = 0
        self._dealt = 0
        self._held = 0
        self._changed = asyncio.Event()

    def take(self) -> int:
        """Take the slots that were dealt to this queue; how many that were."""
        self._wants = True
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
            self._held -= unused + self._dealt
            self._dealt = 0
            self._wants = False
            self._credit = 0
            self._deal()

    def give(self, count: int = 1) -> None:
        """Give slots back in which a job has run."""
        self._held -= count
        self._slots.give(count)
        self._deal()

    async def wait(self) -> None:
        """Wait until a slot was dealt to this queue, or ``wake`` is called."""
        self._wants = True
        self._deal()
        await self._changed.wait()

    def wake(self) -> None:
        """Wake who waits, whether or not there is a slot."""
        self._changed.set()

    @property
    def _has_room(self) -> bool:
        return self._wants and (self.share.limit is None or self._held < self.share.limit)

    def _deal(self) -> None:
        """Deal what is free, one by one; the queue whose turn it is has the highest credit."""
        if not self._slots.free or not any(portion._has_room for portion in self._siblings):
            return
        free = self._slots.take()
        for dealt in range(free):
            wanting = [portion for portion in self._siblings if portion._has_room]
            if not wanting:
                self._slots.claimed(0, free - dealt)
                return
            for portion in wanting:
                portion._credit += portion.share.weight
            first = max(wanting, key=lambda portion: portion._credit)
            first._credit -= sum(portion.share.weight for portion in wanting)
            first._dealt += 1
            first._held += 1
            first._changed.set()
