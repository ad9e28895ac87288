"""Concurrent submits share round trips.

What is submitted in one turn of the event loop, or while an earlier batch is being sent, goes out as one script call.
No submit waits for a batch to fill up.
"""

from __future__ import annotations

import asyncio
from copy import copy

from taskserver.client.router import PartitionRouter
from taskserver.domain.job import NewJob
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import submit as submitting


class Submitter:
    """Collects jobs for each partition and submits them in batches.

    Args:
        broker: The broker.
        router: Is told of each batch that is sent.
    """

    def __init__(self, broker: Broker, router: PartitionRouter) -> None:
        self._broker = broker
        self._router = router
        self._waiting: dict[str, list[tuple[NewJob, asyncio.Future[None]]]] = {}
        self._flushes: dict[str, asyncio.Task[None]] = {}

    async def submit(self, partition: str, job: NewJob) -> None:
        """Submit one job, together with others that are being submitted; return when the broker has it.

        Raises:
            BrokerError: as ``store.jobs.submit.submit``.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(partition, []).append((job, written))
        if partition not in self._flushes:
            self._flushes[partition] = asyncio.create_task(self._flush(partition), name=f"submit to {partition}")
        await written

    async def _flush(self, partition: str) -> None:
        try:
            while batch := self._waiting.pop(partition, None):
                if self._router.needed:
                    self._router.sent(partition)
                await self._send(partition, batch)
        finally:
            del self._flushes[partition]

    async def _send(self, partition: str, batch: list[tuple[NewJob, asyncio.Future[None]]]) -> None:
        try:
            await submitting.submit(self._broker, partition, [job for job, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, no caller may be left waiting
            for _, written in batch:
                if not written.done():  # each caller gets its own error, and adds its own traceback
                    written.set_exception(copy(error))
        else:
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    async def close(self) -> None:
        """Wait until the batches that are being sent have arrived."""
        await asyncio.gather(*self._flushes.values(), return_exceptions=True)
