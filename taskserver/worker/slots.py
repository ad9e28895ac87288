"""The worker's slots: a semaphore of which a claim takes all that is free, to ask for exactly as many jobs."""

from __future__ import annotations

import asyncio
from typing import NamedTuple


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
