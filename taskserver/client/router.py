"""Which partition a job goes to.

Jobs without an idempotency key go to a queue's partitions in turns: not job by job, which would tear batches apart, but
one partition gets what is submitted until its batch is sent, then the next one does. A job with a key goes where its
key belongs, so that the same key is the same job.

While every queue has one partition, nobody has to ask here.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from copy import copy

from taskserver.aio import cancel_and_wait
from taskserver.client.options import PreparedJob
from taskserver.domain.job import NewJob
from taskserver.domain.partitions import number_for, partitions, queue_of
from taskserver.errors import BrokerError, BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.submit import BATCH_JOBS
from taskserver.store.queries import partitions as stored

REFRESH_SECONDS = 30.0
"""How old the counts may be. Older ones do no harm: a queue never has fewer partitions than before."""
LEAST_CHUNK = 50
"""Fewer jobs are not worth a script call of their own."""


class PartitionRouter:
    """Knows the partitions of queues that have several, as of the last time that the broker was asked.

    Attributes:
        ready: Whether the counts were read at least once.
        needed: Whether to call ``route`` and ``sent``, because some queue has several partitions, or because it is time
            to read the counts again. Otherwise each queue is its own partition.
    """

    def __init__(self, broker: Broker) -> None:
        self.ready = False
        self.needed = True
        self._broker = broker
        self._names: dict[str, list[str]] = {}
        self._current: dict[str, str] = {}
        self._next: dict[str, str] = {}  # partition → the one after it
        self._old = True
        self._timer: asyncio.TimerHandle | None = None
        self._learning: asyncio.Task[None] | None = None

    async def learn(self) -> None:
        """Wait for the first reading of the counts; whoever calls at the same time waits for the same reading.

        Raises:
            BrokerError: if they cannot be read; the next call tries again.
        """
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn(), name="learn partitions")
        learning = self._learning
        await asyncio.wait((learning,))  # a caller that is cancelled does not cancel it
        if learning.cancelled():
            raise BrokerUnavailable("this client was interrupted while it asked for the partitions: try again")
        if error := learning.exception():
            raise copy(error)  # each caller adds its own traceback

    async def learned(self) -> None:
        """Wait until a first reading that has begun is done, whether it succeeds or not."""
        if self._learning is not None and not self.ready:
            await asyncio.wait((self._learning,))

    def route(self, queue: str, job: NewJob) -> str:
        """The partition for a job."""
        names = self._names.get(queue)
        if names is None:
            return queue
        return names[number_for(job.key, len(names))] if _has_key(job) else self._current[queue]

    def route_many(self, jobs: Sequence[PreparedJob]) -> list[str]:
        """The partition for each of many jobs; jobs without a key are dealt to a queue's partitions in chunks."""
        self._refresh_if_old()
        if not self._names:
            return [each.queue for each in jobs]
        left = Counter(each.queue for each in jobs if not _has_key(each.job))
        chunk = {queue: self._chunk_size(queue, count) for queue, count in left.items()}
        room = dict(chunk)
        routes = []
        for each in jobs:
            queue, job = each.queue, each.job
            partition = self.route(queue, job)
            routes.append(partition)
            if not _has_key(job):
                left[queue] -= 1
                room[queue] -= 1
                if not room[queue] or not left[queue]:
                    room[queue] = chunk[queue]
                    self._advance(partition)
        return routes

    def sent(self, partition: str) -> None:
        """A batch for a partition was sent: jobs that come now go to the next one."""
        self._refresh_if_old()
        self._advance(partition)

    async def close(self) -> None:
        """Stop reading the counts; harmless when repeated."""
        if self._timer is not None:
            self._timer.cancel()
        if self._learning is not None:
            await cancel_and_wait(self._learning)

    def _chunk_size(self, queue: str, count: int) -> int:
        return min(BATCH_JOBS, max(LEAST_CHUNK, -(-count // len(self._names.get(queue, (queue,))))))

    def _advance(self, partition: str) -> None:
        following = self._next.get(partition)
        if following is not None and self._current[queue := queue_of(partition)] == partition:
            self._current[queue] = following

    def _refresh_if_old(self) -> None:
        """Read the counts in the background; until then those that are known count."""
        if self.ready and self._old:
            self._old = False
            self._learning = asyncio.create_task(self._refresh(), name="refresh partitions")

    async def _refresh(self) -> None:
        try:
            with suppress(BrokerError):  # the next one may succeed
                await self._read()
        finally:
            self._rest()

    def _rest(self) -> None:
        """Be needed no more until the counts are old, unless a queue has several partitions."""
        self._old, self.needed = False, bool(self._names)
        self._timer = asyncio.get_running_loop().call_later(REFRESH_SECONDS, self._grow_old)

    def _grow_old(self) -> None:
        self._old = self.needed = True

    async def _learn(self) -> None:
        await self._read()
        self._rest()
        self.ready = True

    async def _read(self) -> None:
        for queue, count in (await stored.counts(self._broker)).items():
            if count > len(self._names.get(queue, ())):
                names = self._names[queue] = partitions(queue, count)
                self._current.setdefault(queue, names[int(time.monotonic() * 1000) % count])  # clients begin anywhere
                self._next |= zip(names, [*names[1:], names[0]], strict=True)


def _has_key(job: NewJob) -> bool:
    """Whether the job's id was made from an idempotency key; others begin with the time, which is a digit."""
    return job.key[0] == "k"
