"""The worker's slots: a semaphore that can say how many are free, so that a claim asks for just as many."""

from __future__ import annotations

import asyncio


class Slots:
    """``size`` slots. A slot is taken by an attempt that begins and given back when nothing of it runs any more."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self._changed = asyncio.Event()
        self._changed.set()

    @property
    def busy(self) -> int:
        """How many are taken."""
        return self.size - self.free

    def take(self) -> None:
        """Take a free slot."""
        self.free -= 1
        if self.free <= 0:
            self._changed.clear()

    def give(self) -> None:
        """Give a slot back."""
        self.free += 1
        self._changed.set()

    async def wait(self) -> None:
        """Wait until a slot is free."""
        await self._changed.wait()

    def wake(self) -> None:
        """Wake those who wait, whether or not a slot is free."""
        self._changed.set()
