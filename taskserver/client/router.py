"""Which partition a job goes to.

Jobs without an idempotency key go to a queue's partitions in turns: not job by job, which would tear batches apart, but
one partition takes what is submitted until its batch is on its way, then the next one does. A job with a key goes
where its key belongs, so that the same key is the same job.

A queue with one partition is not known here, and costs one look into a dictionary.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from taskserver.aio import cancel_and_wait
from taskserver.domain.job import NewJob
from taskserver.domain.partitions import number_for, partitions
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.submit import BATCH_JOBS
from taskserver.store.queries import partitions as stored

LOOK_SECONDS = 30.0
"""How old the counts may be. Older ones harm nobody: the partitions that they tell of stay."""
LEAST_CHUNK = 50
"""Fewer jobs are not worth a call of their own."""


class PartitionRouter:
    """Knows the partitions of queues that have several, as far as it was told."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._names: dict[str, list[str]] = {}
        self._current: dict[str, str] = {}
        self._following: dict[str, tuple[str, str]] = {}  # partition → its queue, and the partition after it
        self._due = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def learn(self) -> None:
        """Ask for the counts.

        Raises:
            BrokerError: if they cannot be read.
        """
        for queue, count in (await stored.counts(self._broker)).items():
            names = partitions(queue, count)
            if count > len(self._names.get(queue, ())):
                self._names[queue] = names
                self._current.setdefault(queue, names[int(time.monotonic() * 1000) % count])  # clients begin anywhere
                after = [*names[1:], names[0]]
                self._following |= {name: (queue, after[number]) for number, name in enumerate(names)}
        self._due = time.monotonic() + LOOK_SECONDS

    def place(self, queue: str, job: NewJob) -> str:
        """The partition for a job."""
        names = self._names.get(queue)
        if names is None:
            return queue
        return names[number_for(job.key, len(names))] if _has_key(job) else self._current[queue]

    def sent(self, partition: str) -> None:
        """A batch is on its way to a partition: what comes now goes to the next one."""
        if time.monotonic() > self._due:
            self._look_again()
        if (following := self._following.get(partition)) is not None:
            queue, name = following
            if self._current[queue] == partition:
                self._current[queue] = name

    def chunks(self, queue: str, jobs: Sequence[NewJob]) -> list[tuple[str, list[int]]]:
        """Positions of many jobs at once, by the partition that each goes to."""
        names = self._names.get(queue)
        if names is None:
            self.sent(queue)
            return [(queue, list(range(len(jobs))))]
        chunks: dict[str, list[int]] = {}
        plain: list[int] = []
        for position, job in enumerate(jobs):
            if _has_key(job):
                chunks.setdefault(names[number_for(job.key, len(names))], []).append(position)
            else:
                plain.append(position)
        size = min(BATCH_JOBS, max(LEAST_CHUNK, -(-len(plain) // len(names))))
        for start in range(0, len(plain), size):
            name = self._current[queue]
            chunks.setdefault(name, []).extend(plain[start : start + size])
            self.sent(name)
        return list(chunks.items())

    async def close(self) -> None:
        """Look no more; harmless when repeated."""
        if self._looking is not None:
            await cancel_and_wait(self._looking)

    def _look_again(self) -> None:
        """Ask for the counts, while everything goes on with those that are known."""
        self._due = time.monotonic() + LOOK_SECONDS
        self._looking = asyncio.create_task(self._look(), name="look for partitions")

    async def _look(self) -> None:
        try:
            await self.learn()
        except BrokerError:  # the next one may do
            return


def _has_key(job: NewJob) -> bool:
    """Whether the job's id was made from an idempotency key; others begin with the time, which is a digit."""
    return job.key[0] == "k"


async def all_done(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them, which run at once.

    Raises:
        Exception: the first one that any of them raised, when all have ended.
    """
    first, *others = calls
    if not others:
        await first
        return
    ends = await asyncio.gather(first, *others, return_exceptions=True)
    for error in ends:
        if isinstance(error, BaseException):
            raise error
