"""Reclaiming: takes back the jobs of workers that stopped renewing. One worker at a time does it, even if all idle."""

from __future__ import annotations

import asyncio
import logging

from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.recover import reclaim
from taskserver.worker.service import LoopService

TURNS_PER_LEASE = 3

log = logging.getLogger("taskserver.worker")


class Reclaimer(LoopService):
    """Takes back the jobs of one queue whose leases ran out.

    Attributes:
        taken_back: Jobs whose attempt was lost with its worker.
    """

    def __init__(self, broker: Broker, queue: str, worker: str, lease: float) -> None:
        super().__init__()
        self.name = f"reclaimer of {queue}"
        self._broker = broker
        self._queue = queue
        self._worker = worker
        self.taken_back = 0
        self._lease_ms = round(lease * 1000)
        self._pause = lease / TURNS_PER_LEASE
        self._sooner = asyncio.Event()

    def look_again(self) -> None:
        """A worker with a shorter lease has come: look as often as it does."""
        self._sooner.set()

    async def turn(self) -> None:
        """Take jobs back, and again at once while there is more to look at.

        Another worker takes over after two missed turns.
        """
        self._sooner.clear()
        look = await reclaim(self._broker, self._queue, self._worker, self._lease_ms)
        for job in look.lost:
            if job.worker:
                self.taken_back += 1
                log.warning("job %s-%s requeued: worker %s was lost", self._queue, job.key, job.worker)
        if look.next_ms:
            await self.rest(min(self._pause, look.next_ms / 1000), until=self._sooner)

    async def interrupt(self) -> None:
        """Wake the loop, so that it sees the stop."""
        self._sooner.set()
