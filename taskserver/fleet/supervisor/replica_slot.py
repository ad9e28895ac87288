"""One seat of a supervisor: there is always a replica in it, or one on its way.

A replica that says that it stops, by itself or because somebody told it past the supervisor, is followed at once; one
that crashed, after a back-off that grows until a replica has taken jobs for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from taskserver.domain.retry import backoff
from taskserver.fleet.link import Ready, Refused
from taskserver.fleet.supervisor.child import Child
from taskserver.fleet.supervisor.exits import asked_for, reason

STEADY_SECONDS = 30.0
"""Who has taken jobs for so long did not crash because of how it was started."""
FIRST_WAIT, LAST_WAIT = 0.5, 30.0
GROUP_SECONDS = 0.2
TRIES = 3
"""How many successors may crash before the replica that is there stays."""

log = logging.getLogger("taskserver.supervisor")


class ReplicaSlot:
    """A replica's number, and whoever has it.

    Args:
        number: From 1.
        hire: Makes the process of a replica of that number.
        changed: Called when a replica has become ready, or is none any more.
        refused: Called with what a replica said that could not work.

    Attributes:
        leaving: Set once nobody shall follow.
    """

    def __init__(
        self,
        number: int,
        hire: Callable[[int], Child],
        changed: Callable[[], None],
        refused: Callable[[Refused], None],
    ) -> None:
        self.number = number
        self.leaving = asyncio.Event()
        self._hire = hire
        self._changed = changed
        self._refused = refused
        self._child: Child | None = None
        self._alive: set[Child] = set()
        self._watching: set[asyncio.Task[None]] = set()
        self._placing = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._failures = 0

    @property
    def ready(self) -> Ready | None:
        """What the replica in it said when it began to take jobs; None if it takes none."""
        child = self._child
        return child.ready if child and not child.left.is_set() else None

    @property
    def children(self) -> list[Child]:
        """Every process of it that lives."""
        return list(self._alive)

    async def keep(self) -> None:
        """Keep a replica in the seat until nobody shall follow and all are gone."""
        while not self.leaving.is_set():
            child = self._child
            if child is None or child.left.is_set():
                await self._replace(child)
            else:
                await child.left.wait()
                await self._note_stopping(child)
        while self._watching:
            await asyncio.wait(self._watching)

    async def roll(self) -> bool:
        """Let a new replica follow the one that is there: once it takes jobs, the old one drains; wait for its end.

        Returns:
            Whether that worked; if not, the old one goes on.
        """
        if self._child is None or self._child.code is not None:  # it waits for its back-off
            self._failures = 0
            self._nudged.set()
            return True
        successor = await self._successor()
        if successor is None:
            return False
        async with self._placing:
            old, self._child = self._child, successor
        self._changed()
        log.info("replica %d (pid %d) takes the place of pid %d", self.number, successor.pid, old.pid)
        old.stop()
        await old.ended()
        return True

    async def _successor(self) -> Child | None:
        """A replica that takes jobs, beside the one that is there; None if there cannot be one."""
        for _ in range(TRIES):
            child = await self._spawn()
            if child is None:
                return None
            await child.changed.wait()
            if child.ready is not None:
                return child
            if child.refused is not None or self.leaving.is_set():
                return None
        return None

    def stop(self, *, hurry: bool = False) -> None:
        """Let whoever is in it drain, and nobody follow; or do not even wait."""
        self.leaving.set()
        self._nudged.set()
        for child in self._alive:
            child.stop(hurry=hurry)

    async def _note_stopping(self, child: Child) -> None:
        """A signal to a whole group of processes may have come to the replica first, and is about to come here."""
        if child.code is None and not child.told:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), GROUP_SECONDS)
            if not self.leaving.is_set():
                log.info("replica %d (pid %d) stops by itself; another one follows", self.number, child.pid)

    async def _replace(self, gone: Child | None) -> None:
        """Put a replica into the seat, at once or after a while, unless there is one meanwhile."""
        if gone is not None and not self.leaving.is_set():
            self._nudged.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), self._wait_after(gone))
        async with self._placing:
            if self._child is gone and not self.leaving.is_set():
                child = await self._spawn()
                if child is not None:
                    self._child = child
                    return
        if self._child is gone and not self.leaving.is_set():
            await asyncio.sleep(FIRST_WAIT)  # there was no room for another process

    def _wait_after(self, gone: Child) -> float | None:
        """Seconds until somebody follows; None for when the source files have changed."""
        if gone.refused is not None and gone.refused.files:
            return None
        if gone.code is None:
            return 0.0
        if asked_for(gone.code) and gone.ready:
            log.info("%s; another one follows", _ending(gone))
            return 0.0
        self._failures = 1 if gone.seconds_ready > STEADY_SECONDS else self._failures + 1
        wait = backoff(self._failures, FIRST_WAIT, LAST_WAIT)
        if gone.refused is None:  # else it has told why itself
            log.warning("%s; another one follows in %.1f s", _ending(gone), wait)
        return wait

    async def _spawn(self) -> Child | None:
        child = self._hire(self.number)
        try:
            await child.start()
        except OSError as error:
            log.error("replica %d cannot be started: %s", self.number, error.strerror or error)
            return None
        self._alive.add(child)
        watching = asyncio.create_task(self._watch(child))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        if self.leaving.is_set():
            child.stop()
        return child

    async def _watch(self, child: Child) -> None:
        """Tell what becomes of a process."""
        await child.changed.wait()
        self._changed()
        await child.left.wait()
        self._changed()
        draining = child.code is None
        code = await child.ended()
        self._alive.discard(child)
        if child.refused is not None:
            self._refused(child.refused)
        elif code and (draining or child.told) and not asked_for(code):
            log.warning("%s", _ending(child))
        self._changed()


def _ending(child: Child) -> str:
    return f"replica {child.number} (pid {child.pid}) has ended: {reason(child.code or 0)}"
