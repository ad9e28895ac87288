"""Notices when a worker's jobs wait for each other: all slots are held by jobs that wait for jobs of its own queues."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Collection

from taskserver.domain.partitions import queue_of
from taskserver.observability.redaction import log_context
from taskserver.worker.slots import Slots

SUSPECT_SECONDS = 2.0
"""For how long all slots must be held so: another worker may be running the awaited jobs."""

log = logging.getLogger("taskserver.worker")


class DeadlockObserver:
    """Says once, in the log, that nothing may run any more, and what to do. Clients inside attempts tell it.

    Args:
        slots: The worker's slots.
        queues: Its queues.
    """

    def __init__(self, slots: Slots, queues: Collection[str]) -> None:
        self._slots = slots
        self._queues = frozenset(queues)
        self._waits: Counter[int] = Counter()  # by attempt
        self._counting = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._suspected = False

    def begin(self, queue: str) -> None:
        """The attempt of this context waits for a job of this queue. From any thread."""
        attempt = log_context.get()
        if attempt is None or queue_of(queue) not in self._queues:
            return
        with self._counting:
            self._waits[id(attempt)] += 1
        if self._stuck and not self._suspected:
            self._suspected = True
            self._loop.call_soon_threadsafe(self._suspect)

    def end(self, queue: str) -> None:
        """It does not wait for it any more. From any thread."""
        attempt = log_context.get()
        if attempt is None or queue_of(queue) not in self._queues:
            return
        with self._counting:
            self._waits[id(attempt)] -= 1
            self._waits += Counter()  # without those that are 0

    @property
    def _stuck(self) -> bool:
        return len(self._waits) >= self._slots.size

    def _suspect(self) -> None:
        self._loop.call_later(SUSPECT_SECONDS, self._judge, frozenset(self._waits))

    def _judge(self, before: frozenset[int]) -> None:
        if not self._stuck or before != frozenset(self._waits):
            self._suspected = False  # jobs have ended meanwhile: it moves
            return
        log.warning(
            "%s held by jobs that wait for jobs of this worker's own queues (%s), which it cannot start: "
            "give the awaited jobs a queue and a worker of their own, or this worker more slots (--concurrency)",
            "the only slot is" if self._slots.size == 1 else f"all {self._slots.size} slots are",
            ", ".join(sorted(self._queues)),
        )
