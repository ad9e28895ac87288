"""Reclaiming: takes back the jobs of workers that stopped renewing. One worker at a time does it, even if all idle."""

from __future__ import annotations

import logging

from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.recover import BATCH, reclaim
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

    async def turn(self) -> None:
        """Take jobs back, and again at once while there are more. Another worker takes over after two missed turns."""
        hold_ms = max(1, round(self._pause * 2000))
        lost = await reclaim(self._broker, self._queue, self._worker, self._lease_ms, hold_ms)
        for job in lost or ():
            if job.worker:
                self.taken_back += 1
                log.warning("job %s-%s requeued: worker %s was lost", self._queue, job.key, job.worker)
        if len(lost or ()) < BATCH:
            await self.rest(self._pause)
