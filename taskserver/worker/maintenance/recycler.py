"""Recycling: the worker finds that a fresh process should take its place.

There are three reasons: it has run as many jobs as it may; it uses more memory than it may; or half of its slots are
held by threads of sync tools that have outlived their attempts, cannot be killed, and do not end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from taskserver.domain.sizes import size_text
from taskserver.observability.phrases import count
from taskserver.tools.processes import resident_bytes
from taskserver.worker.service import LoopService
from taskserver.worker.slots import Slots

LOOK_SECONDS = 1.0
"""Between two looks."""
LEAK_SECONDS = 15.0
"""How long half of the slots must be held: threads that end late, but end, need no new process."""


class Recycler(LoopService):
    """Calls ``replace`` with the reason, once there is one."""

    name = "recycler"

    def __init__(self, slots: Slots, max_rss: int | None, replace: Callable[[str], None]) -> None:
        super().__init__()
        self._slots = slots
        self._max_rss = max_rss
        self._replace = replace
        self._leaking_since: float | None = None

    async def turn(self) -> None:
        """Look once, and rest."""
        reason = self._jobs() or self._leaks() or await self._memory()
        if reason:
            self._replace(reason)
            await self.rest(LOOK_SECONDS)
        else:
            await self.rest(LOOK_SECONDS, until=self._slots.used_up)

    async def interrupt(self) -> None:
        """End the rest."""
        self._slots.used_up.set()

    def _jobs(self) -> str | None:
        return "it has run as many jobs as max_jobs allows" if self._slots.used_up.is_set() else None

    def _leaks(self) -> str | None:
        leaked, size = self._slots.leaked, self._slots.size
        if 2 * leaked < size or not leaked:
            self._leaking_since = None
            return None
        now = time.monotonic()
        self._leaking_since = self._leaking_since or now
        if now - self._leaking_since < LEAK_SECONDS:
            return None
        held = f"{leaked} of {count(size, 'slot')} {'is' if leaked == 1 else 'are'} held"
        return f"{held} by threads that do not end; consider running the tool in a process"

    async def _memory(self) -> str | None:
        if self._max_rss is None:
            return None
        held = await resident_bytes()
        if held is None or held <= self._max_rss:
            return None
        return f"it uses {size_text(held)} of memory, more than the {size_text(self._max_rss)} of max_rss"
