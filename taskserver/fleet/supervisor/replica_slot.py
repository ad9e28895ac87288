"""One replica slot of a supervisor: it always has a replica, or one on its way.

A replica that stops by itself, or because somebody stopped it without its supervisor, is replaced at once; one that
crashed, after a back-off that grows until a replica has taken jobs for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from taskserver.domain.retry import backoff
from taskserver.fleet.link import Ready, Refused
from taskserver.fleet.supervisor.child import Child
from taskserver.fleet.supervisor.exits import describe_exit, was_requested

STEADY_SECONDS = 30.0
"""A replica that has taken jobs for this long did not crash because of how it was started."""
FIRST_BACKOFF, MAX_BACKOFF = 0.5, 30.0
GROUP_SECONDS = 0.2
MAX_TRIES = 3
"""How many successors may crash before a rolling restart keeps the current replica."""

log = logging.getLogger("taskserver.supervisor")


class ReplicaSlot:
    """A replica's number, and the process that has it.

    Args:
        number: From 1.
        make_child: Makes the process of a replica with this number.
        on_change: Called when a replica has become ready, or stopped being so.
        on_refused: Called with the message of a replica that cannot start.

    Attributes:
        closing: Set once no further replica will follow.
    """

    def __init__(
        self,
        number: int,
        make_child: Callable[[int], Child],
        on_change: Callable[[], None],
        on_refused: Callable[[Refused], None],
    ) -> None:
        self.number = number
        self.closing = asyncio.Event()
        self._make_child = make_child
        self._on_change = on_change
        self._on_refused = on_refused
        self._child: Child | None = None
        self._alive: set[Child] = set()
        self._watching: set[asyncio.Task[None]] = set()
        self._replacing = asyncio.Lock()
        self._skip_backoff = asyncio.Event()
        self._failures = 0

    @property
    def ready(self) -> Ready | None:
        """The replica's message that it takes jobs; None if it does not."""
        child = self._child
        return child.ready if child and not child.stopping.is_set() else None

    @property
    def children(self) -> list[Child]:
        """Every process of this slot that is alive."""
        return list(self._alive)

    async def run(self) -> None:
        """Keep a replica alive until ``stop``, and return when all processes have exited."""
        while not self.closing.is_set():
            child = self._child
            if child is None or child.stopping.is_set():
                await self._replace(child)
            else:
                await child.stopping.wait()
                await self._note_stopping(child)
        while self._watching:
            await asyncio.wait(self._watching)

    async def roll(self) -> bool:
        """Replace the replica: once a new one takes jobs, drain the old one and wait until it has exited.

        Returns:
            Whether that worked; if not, the old one keeps running.
        """
        if self._child is None or self._child.exit_code is not None:  # its successor waits for the back-off
            self._failures = 0
            self._skip_backoff.set()
            return True
        successor = await self._start_successor()
        if successor is None:
            return False
        async with self._replacing:
            old, self._child = self._child, successor
        self._on_change()
        log.info("replica %d (pid %d) has replaced pid %d", self.number, successor.pid, old.pid)
        old.stop()
        await old.wait()
        return True

    async def _start_successor(self) -> Child | None:
        """Start a replica beside the current one; None if it cannot take jobs."""
        for _ in range(MAX_TRIES):
            child = await self._spawn()
            if child is None:
                return None
            await child.started.wait()
            if child.ready is not None:
                return child
            if child.refused is not None or self.closing.is_set():
                return None
        return None

    def stop(self, *, hurry: bool = False) -> None:
        """Drain the replica for good; with ``hurry``, do not wait for running jobs."""
        self.closing.set()
        self._skip_backoff.set()
        for child in self._alive:
            child.stop(hurry=hurry)

    async def _note_stopping(self, child: Child) -> None:
        """Tell a replica that stops by itself from one that got the signal to its process group before us."""
        if child.exit_code is None and not child.stop_sent:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), GROUP_SECONDS)
            if not self.closing.is_set():
                log.info("replica %d (pid %d) is stopping by itself; starting another", self.number, child.pid)

    async def _replace(self, gone: Child | None) -> None:
        """Start a replica, at once or after a back-off, unless there is one by then."""
        if gone is not None and not self.closing.is_set():
            self._skip_backoff.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._skip_backoff.wait(), self._seconds_to_wait(gone))
        async with self._replacing:
            if self._child is gone and not self.closing.is_set():
                child = await self._spawn()
                if child is not None:
                    self._child = child
                    return
        if self._child is gone and not self.closing.is_set():
            await asyncio.sleep(FIRST_BACKOFF)  # the system could not start another process

    def _seconds_to_wait(self, gone: Child) -> float | None:
        """Seconds until the next replica starts; None to wait until the source files have changed."""
        if gone.refused is not None and gone.refused.files:
            return None
        if gone.exit_code is None:
            return 0.0
        if was_requested(gone.exit_code) and gone.ready:
            log.info("%s; starting another", _describe(gone))
            return 0.0
        self._failures = 1 if gone.seconds_ready > STEADY_SECONDS else self._failures + 1
        wait = backoff(self._failures, FIRST_BACKOFF, MAX_BACKOFF)
        if gone.refused is None:  # else its refusal is logged
            log.warning("%s; starting another in %.1f s", _describe(gone), wait)
        return wait

    async def _spawn(self) -> Child | None:
        child = self._make_child(self.number)
        try:
            await child.start()
        except OSError as error:
            log.error("could not start replica %d: %s", self.number, error.strerror or error)
            return None
        self._alive.add(child)
        watching = asyncio.create_task(self._watch(child))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        if self.closing.is_set():
            child.stop()
        return child

    async def _watch(self, child: Child) -> None:
        """Report each change of a process until it has exited."""
        await child.started.wait()
        self._on_change()
        await child.stopping.wait()
        self._on_change()
        was_draining = child.exit_code is None
        exit_code = await child.wait()
        self._alive.discard(child)
        if child.refused is not None:
            self._on_refused(child.refused)
        elif exit_code and (was_draining or child.stop_sent) and not was_requested(exit_code):
            log.warning("%s", _describe(child))
        self._on_change()


def _describe(child: Child) -> str:
    return f"replica {child.number} (pid {child.pid}) exited: {describe_exit(child.exit_code or 0)}"
