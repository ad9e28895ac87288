"""Following a job's events: they are read as they come, ahead of whoever takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress

from taskserver.aio import cancel_and_wait
from taskserver.client.waiter import JobWatch
from taskserver.domain.events import Event, EventSequence
from taskserver.domain.ids import JobRef
from taskserver.errors import BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import jobs as job_queries

RETRY_SECONDS = 1.0
"""How long to wait before events are read again that could not be read."""
AHEAD_BYTES = 16 * 1024 * 1024
"""How far is read ahead. The broker keeps few events, so a slow reader of a fast tool would miss some otherwise."""
EVENT_BYTES = 500
"""What an event takes besides its text, about."""


class EventFollower:
    """Yields a job's events until it has ended.

    Args:
        broker: Where.
        job: Whose events.
        watch: The job's watch; it wakes the reading.
        after: The cursor after which they begin.
    """

    def __init__(self, broker: Broker, job: JobRef, watch: JobWatch, after: str) -> None:
        self._broker = broker
        self._job = job
        self._watch = watch
        self._after = after
        self._sequence = EventSequence(None)
        self._pages: deque[list[Event]] = deque()
        self._ahead = 0
        self._more = asyncio.Event()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def events(self) -> AsyncGenerator[Event]:
        """The events, with gaps, and with what says that another attempt begins.

        Raises:
            ConfigError: if ``after`` is not a cursor of the job.
            JobNotFound, BrokerDenied, ClientUnusable: if they cannot be read any more.
        """
        reading = asyncio.create_task(self._read(), name=f"events of {self._job.id}")
        reading.add_done_callback(lambda _: self._arrived.set())
        self._watch.followers.add(self._more)
        try:
            while self._pages or not reading.done():
                self._arrived.clear()
                while self._pages:
                    page = self._pages.popleft()
                    for event in page:
                        for completed in self._sequence.completed(event):
                            yield completed
                    self._ahead -= _size(page)
                    self._room.set()
                if not reading.done():
                    await self._arrived.wait()
            reading.result()
        finally:
            self._watch.followers.discard(self._more)
            await cancel_and_wait(reading)

    async def _read(self) -> None:
        begun = False
        while True:
            self._more.clear()
            ended = self._watch.outcome.done()
            try:
                page = await job_queries.events(self._broker, self._job, self._after)
                if page and not begun:
                    self._sequence = EventSequence(await job_queries.attempt_at(self._broker, self._job, self._after))
                    begun = True
            except BrokerUnavailable:  # it may come back
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), RETRY_SECONDS)
                continue
            if page:
                self._after = page[-1].cursor
                await self._put(page)
            elif ended:
                self._watch.outcome.result()
                return
            else:
                await self._more.wait()

    async def _put(self, page: list[Event]) -> None:
        while self._ahead > AHEAD_BYTES:
            self._room.clear()
            await self._room.wait()
        self._pages.append(page)
        self._ahead += _size(page)
        self._arrived.set()


def _size(page: list[Event]) -> int:
    return sum(len(event.text) + EVENT_BYTES for event in page)
