"""The janitor walks over all jobs of a queue, slowly and for ever, and wakes those that nothing else would.

A job's hash is the truth; its stream entry, or its place in the delay set, is only what wakes it. When somebody
deletes or trims those, the hash still says that the job is to be run, and the walk finds it. One worker at a time
walks; when the groups of a queue were lost, which means that its streams may be, it walks at once and fast.
"""

from __future__ import annotations

import asyncio
import logging

from taskserver.store.connection import Broker
from taskserver.store.mending import mend_page, take_turn, tidy
from taskserver.worker.service import LoopService

PAGE_SECONDS = 0.2
"""Between two pages: a walk over a million jobs takes some minutes, and costs the server less than one in a hundred."""
WALK_SECONDS = 15.0
"""Between two walks."""

log = logging.getLogger("taskserver.worker")


class Janitor(LoopService):
    """Mends one queue."""

    def __init__(self, broker: Broker, queue: str, worker: str) -> None:
        super().__init__()
        self.name = f"janitor of {queue}"
        self._broker = broker
        self._queue = queue
        self._worker = worker
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Something was lost: walk now, and without pauses."""
        self._hurry.set()

    async def turn(self) -> None:
        """One walk, if no other worker is at it, and the pause after it."""
        if self._hurry.is_set() or await take_turn(self._broker, self._queue, self._worker, self._hold_ms):
            fast = self._hurry.is_set()
            self._hurry.clear()
            await self._walk(fast)
            await tidy(self._broker, self._queue)
        await self.rest(WALK_SECONDS, until=self._hurry)

    async def interrupt(self) -> None:
        """End a pause early."""
        self._hurry.set()

    @property
    def _hold_ms(self) -> int:
        return round(WALK_SECONDS * 2000)

    async def _walk(self, fast: bool) -> None:
        cursor = 0
        while not self.stopping:
            cursor, mended = await mend_page(self._broker, self._queue, cursor)
            for key in mended:
                log.warning("job %s-%s had lost its place in the queue, and has one again", self._queue, key)
            if cursor == 0:
                return
            if not fast:
                await take_turn(self._broker, self._queue, self._worker, self._hold_ms)
                await self.rest(PAGE_SECONDS, until=self._hurry)
