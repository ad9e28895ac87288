"""Scheduling: puts delayed jobs back into their lanes on time, and ends jobs that were not started in time."""

from __future__ import annotations

import asyncio
import math

from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.recover import BATCH, Due, expire, promote
from taskserver.worker.pace import Pace
from taskserver.worker.service import LoopService

LOOK_SECONDS = 1.0
"""How soon an earlier time is seen: one to expire at, or a due time if the message about it was lost.

With many queues, it takes longer. Only jobs that nobody awaits, reads or claims meanwhile expire so much later.
"""


class Scheduler(LoopService):
    """Keeps the times of one queue by the broker's clock: this process only measures how long to wait."""

    def __init__(self, broker: Broker, queue: str, pace: Pace) -> None:
        super().__init__()
        self.name = f"scheduler of {queue}"
        self._broker = broker
        self._queue = queue
        self._pace = pace
        self._sooner = asyncio.Event()

    def look_again(self) -> None:
        """A job may be due before all others."""
        self._sooner.set()

    async def turn(self) -> None:
        """Move what is due, and wait until the next job is."""
        self._sooner.clear()
        promoted = await promote(self._broker, self._queue)
        expired = await expire(self._broker, self._queue)
        look = self._pace.pause(LOOK_SECONDS)
        await self.rest(min(look, _pause(promoted), _pause(expired)), until=self._sooner)

    async def interrupt(self) -> None:
        """Wake the loop, so that it sees the stop."""
        self._sooner.set()


def _pause(due: Due) -> float:
    if due.moved >= BATCH:
        return 0.0
    return math.inf if due.next_ms is None else due.next_ms / 1000 + 0.001
