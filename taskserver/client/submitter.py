"""Concurrent submits share round trips.

What is submitted in one turn of the event loop, or while an earlier batch is being sent, goes out as one script call.
No submit waits for a batch to fill up.
"""

from __future__ import annotations

import asyncio
from copy import copy
from functools import partial
from typing import NamedTuple

from taskserver.client.router import PartitionRouter
from taskserver.domain.job import ExistingJob, NewJob
from taskserver.errors import BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import submit as submitting

LOST = "the submit was cancelled on its way: it is unknown whether the broker has the job"


class _Waiting(NamedTuple):
    """A job that waits for its batch, and who waits for it."""

    job: NewJob
    written: asyncio.Future[ExistingJob | None]

    def end(self, error: BaseException | None, existing: ExistingJob | None = None) -> None:
        """Let the caller continue, unless it has left; each gets an error of its own, and adds its own traceback."""
        if self.written.done():
            return
        if error is None:
            self.written.set_result(existing)
        else:
            self.written.set_exception(copy(error))


class Submitter:
    """Collects jobs for each partition and submits them in batches.

    Args:
        broker: The broker.
        router: Its ``sent`` is called for each batch.
    """

    def __init__(self, broker: Broker, router: PartitionRouter) -> None:
        self._broker = broker
        self._router = router
        self._waiting: dict[str, list[_Waiting]] = {}
        self._sending: dict[str, list[_Waiting]] = {}
        self._flushes: dict[str, asyncio.Task[None]] = {}

    async def submit(self, partition: str, job: NewJob) -> ExistingJob | None:
        """Submit one job, together with others that are being submitted; return when the broker has it.

        Returns:
            What was there already under its idempotency key; None if it is new.

        Raises:
            BrokerError: if the broker does not acknowledge it; see ``store.jobs.submit.Submitted``.
        """
        written: asyncio.Future[ExistingJob | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(partition, []).append(_Waiting(job, written))
        if partition not in self._flushes:
            flush = self._flushes[partition] = asyncio.create_task(
                self._flush(partition), name=f"submit to {partition}"
            )
            flush.add_done_callback(partial(self._end_owed, partition))
        return await written

    async def _flush(self, partition: str) -> None:
        while batch := self._waiting.pop(partition, None):
            self._sending[partition] = batch
            if self._router.needed:
                self._router.sent(partition)
            submitted = await submitting.submit(self._broker, partition, [each.job for each in batch])
            for each in batch:
                each.end(submitted.failed.get(each.job.key), submitted.existing.get(each.job.call))
        del self._flushes[partition], self._sending[partition]

    def _end_owed(self, partition: str, flush: asyncio.Task[None]) -> None:
        """However a flush ends, no caller may be left waiting for it."""
        if self._flushes.get(partition) is not flush:  # it came to its end
            return
        del self._flushes[partition]
        error = BrokerUnavailable(LOST) if flush.cancelled() else flush.exception()
        for each in (*self._sending.pop(partition, ()), *self._waiting.pop(partition, ())):
            each.end(error)

    async def close(self) -> None:
        """Wait until the batches that are being sent have arrived."""
        await asyncio.gather(*self._flushes.values(), return_exceptions=True)
