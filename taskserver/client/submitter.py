"""Concurrent submits share round trips.

What is submitted in one turn of the event loop, or while an earlier batch is on its way, goes out as one script
call. Nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy

from taskserver.domain.job import NewJob
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import submit as submitting


class Submitter:
    """Gathers jobs per partition and submits them in batches.

    Args:
        broker: Where.
        sent: Told of each partition to which a batch is on its way.
    """

    def __init__(self, broker: Broker, sent: Callable[[str], None]) -> None:
        self._broker = broker
        self._sent = sent
        self._waiting: dict[str, list[tuple[NewJob, asyncio.Future[None]]]] = {}
        self._flushes: dict[str, asyncio.Task[None]] = {}

    async def submit(self, queue: str, job: NewJob) -> None:
        """Submit one job, together with whatever else is being submitted; return when the broker has it.

        Raises:
            BrokerError: as ``store.submitting.submit``.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(queue, []).append((job, written))
        if queue not in self._flushes:
            self._flushes[queue] = asyncio.create_task(self._flush(queue), name=f"submit to {queue}")
        await written

    async def _flush(self, queue: str) -> None:
        try:
            while batch := self._waiting.pop(queue, None):
                self._sent(queue)
                await self._send(queue, batch)
        finally:
            del self._flushes[queue]

    async def _send(self, queue: str, batch: list[tuple[NewJob, asyncio.Future[None]]]) -> None:
        try:
            await submitting.submit(self._broker, queue, [job for job, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            for _, written in batch:
                if not written.done():  # each gets an error of its own: they add their own tracebacks to it
                    written.set_exception(copy(error))
        else:
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    async def close(self) -> None:
        """Let the batches on their way arrive."""
        await asyncio.gather(*self._flushes.values(), return_exceptions=True)
