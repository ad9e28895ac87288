"""The janitor audits a queue, slowly and for ever, and repairs what is not as it should be.

A job's hash is the truth; its stream entry, or its member of the delay set, only wakes it. When somebody deletes or
trims those, the hash still says that the job is to be run, and the audit finds it (``store/maintenance/audit.py``).
One worker at a time does it. When the groups of a queue are gone, its streams may be gone too: then one worker audits
the queue at once, and fast, whoever was at it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing

from taskserver.store.broker.connection import Broker
from taskserver.store.maintenance import registry
from taskserver.store.maintenance.audit import Turn, audit_queue, keep_turn, take_turn
from taskserver.store.maintenance.damage import DESCRIPTIONS, Damage, DamageFinding
from taskserver.worker.pace import Pace
from taskserver.worker.service import LoopService

STEP_SECONDS = 0.2
"""Between two steps: a quick audit of a million jobs takes a quarter of an hour and about 2 % of the server."""
PAUSE_SECONDS = 15.0
"""Between two audits."""
HOLD_SECONDS = 3.0
"""How long other workers leave an audit to the one that has begun it, should it not come to its next step."""
LOOK_SECONDS = 5.0
"""How often other workers look whether it is their turn."""
THOROUGH_SECONDS = 3600.0
"""How often an audit is thorough; the first one is."""

log = logging.getLogger("taskserver.worker")


class Janitor(LoopService):
    """Audits one queue and repairs it."""

    def __init__(self, broker: Broker, queue: str, worker: str, pace: Pace) -> None:
        super().__init__()
        self.name = f"janitor of {queue}"
        self._broker = broker
        self._queue = queue
        self._worker = worker
        self._pace = pace
        self._hurry = asyncio.Event()
        self._thorough_at = time.monotonic()
        self._begun = False

    def hurry(self) -> None:
        """Groups are gone: look at once whether it is this worker that audits the queue now."""
        self._hurry.set()

    async def turn(self) -> None:
        """Audit the queue once and pause, unless another worker is doing that or has just done it."""
        if not self._begun:
            self._begun = True
            await self.rest(self._pace.spread(PAUSE_SECONDS), until=self._hurry)
            return
        self._hurry.clear()
        turn = await take_turn(self._broker, self._queue, self._worker, round(HOLD_SECONDS * 1000))
        if turn is Turn.OTHERS:
            await self.rest(self._pace.pause(LOOK_SECONDS), until=self._hurry)
            return
        fast = turn is Turn.URGENT
        thorough = not fast and time.monotonic() >= self._thorough_at
        if not await self._audit(fast, thorough):
            return
        if thorough:
            self._thorough_at = time.monotonic() + THOROUGH_SECONDS
        await self._forget_unused_queues()
        pause = self._pace.pause(PAUSE_SECONDS)
        await self._keep_turn(pause)
        await self.rest(pause, until=self._hurry)

    async def interrupt(self) -> None:
        """End a pause early."""
        self._hurry.set()

    async def _keep_turn(self, seconds: float) -> bool:
        return await keep_turn(self._broker, self._queue, self._worker, round(seconds * 1000))

    async def _audit(self, fast: bool, thorough: bool) -> bool:
        """Whether it was done to its end; not if it went to another worker, or is to begin again because of a loss."""
        held = time.monotonic()
        async with aclosing(audit_queue(self._broker, self._queue, repair=True, thorough=thorough)) as steps:
            async for step in steps:
                for found in step.found:
                    self._log(found)
                if self.stopping or (self._hurry.is_set() and not fast):
                    return False
                if time.monotonic() > held + HOLD_SECONDS / 3:
                    held = time.monotonic()
                    if not await self._keep_turn(HOLD_SECONDS):
                        return False
                if step.seen and not fast:
                    await self.rest(STEP_SECONDS, until=self._hurry)
        return True

    def _log(self, found: DamageFinding) -> None:
        if found.damage is Damage.HELD:
            return  # the reclaimer takes it back
        damage = DESCRIPTIONS[found.damage]
        level = logging.WARNING if damage.level == "error" else logging.INFO
        log.log(
            level, "queue %s: %s %s: %s", self._queue, damage.noun, damage.problem, f"{found.name} ({damage.repair})"
        )

    async def _forget_unused_queues(self) -> None:
        """Once an hour, one of all workers looks for queues that nobody uses any more: nobody else would do it."""
        if self.stopping or not await registry.take_cleanup_turn(self._broker, self._worker):
            return
        for queue in await registry.find_unused(self._broker, mark=True):
            if not self.stopping and await registry.forget(self._broker, queue):
                log.info("queue %s was forgotten: it had been empty and unused for 30 days", queue)
