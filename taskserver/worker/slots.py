"""The worker's slots: a semaphore that is taken as far as it is free, so that a claim asks for just as many jobs."""

from __future__ import annotations

import asyncio
from typing import NamedTuple


class QueueShare(NamedTuple):
    """A queue's part in the slots of a worker.

    Attributes:
        queue: The queue.
        weight: While several queues have jobs waiting, each gets slots in proportion to it.
        limit: Jobs of it that run at once; None for as many as there are slots.
    """

    queue: str
    weight: int = 1
    limit: int | None = None


class Slots:
    """``size`` slots. A slot is taken before a job is claimed for it, and given back when nothing of it runs any more.

    The queues of a worker share them, so whoever claims must hold its slots already: between asking how many are
    free and taking them, another queue's jobs would take the same ones.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self._changed = asyncio.Event()
        self._changed.set()

    @property
    def busy(self) -> int:
        """How many are taken."""
        return self.size - self.free

    def take(self) -> int:
        """Take all that are free; how many that were."""
        taken, self.free = self.free, 0
        self._changed.clear()
        return taken

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        self.free += count
        if self.free:
            self._changed.set()

    def claimed(self, started: int, taken: int) -> None:
        """So many jobs were started in the slots that were taken for them; the others are given back."""
        self.give(taken - started)

    async def wait(self) -> None:
        """Wait until a slot is free, or ``wake`` is called; by then somebody else may have taken it."""
        await self._changed.wait()

    def wake(self) -> None:
        """Wake those who wait, whether or not a slot is free."""
        self._changed.set()
