"""Finding jobs, or dead letters, by their attributes."""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from taskserver.domain.ids import parse
from taskserver.domain.job import JobStatus, State
from taskserver.domain.partitions import queue_of
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import jobs as job_queries
from taskserver.store.replies import decode

PAGE = 200


class JobFilter(NamedTuple):
    """What a job must match; None matches everything.

    Attributes:
        state: Its state.
        tool: Name of its tool.
        session_id: As given at submit.
        tag: One of its tags.
        error: Part of its error's type or message.
    """

    state: State | None = None
    tool: str | None = None
    session_id: str | None = None
    tag: str | None = None
    error: str | None = None

    def matches(self, job: JobStatus) -> bool:
        """Whether the job matches."""
        return (
            self.state in (None, job.state)
            and self.tool in (None, job.tool)
            and self.session_id in (None, job.session_id)
            and (self.tag is None or self.tag in job.tags)
            and (self.error is None or self._in_error(job))
        )

    def _in_error(self, job: JobStatus) -> bool:
        return job.error is not None and str(self.error) in f"{job.error.type}: {job.error.message}"


async def newest_jobs(
    broker: Broker, queues: Iterable[str], criteria: JobFilter, limit: int, *, brief: bool = False
) -> list[JobStatus]:
    """The newest jobs that match, newest first.

    Reads every job of the queues briefly, some hundred at a time; then those that are returned, unless ``brief``.
    """
    newest: list[JobStatus] = []
    for queue in queues:
        async for keys in job_queries.scan(broker, queue):
            found = await _matching(broker, queue, keys, criteria)
            newest = heapq.nlargest(limit, {job.id: job for job in (*newest, *found)}.values(), key=_submitted)
    return newest if brief else await _in_full(broker, newest)


async def dead_letters(
    broker: Broker, queues: Iterable[str], criteria: JobFilter, *, brief: bool = False
) -> AsyncIterator[JobStatus]:
    """The dead letters that match, queue by queue, newest first, however many there are.

    Consecutive partitions of one queue are merged. Dead letters may be added, requeued or deleted meanwhile: each one
    that stays is returned once.
    """
    for _, partitions in groupby(queues, key=queue_of):
        sources = [_dead_of(broker, each, criteria, brief) for each in partitions]
        async with aclosing(_newest_first(sources)) as letters:
            async for letter in letters:
                yield letter


async def _newest_first(sources: list[AsyncGenerator[JobStatus, None]]) -> AsyncGenerator[JobStatus, None]:
    """Merge sources that are each sorted newest first; one page of each is in memory at a time."""
    heads = []
    for number, source in enumerate(sources):
        if (job := await anext(source, None)) is not None:
            heads.append((-(job.ended_at or 0.0), number, job))
    heapq.heapify(heads)
    try:
        while heads:
            _, number, job = heads[0]
            yield job
            if (following := await anext(sources[number], None)) is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (-(following.ended_at or 0.0), number, following))
    finally:
        for source in sources:
            await source.aclose()


async def _dead_of(broker: Broker, partition: str, criteria: JobFilter, brief: bool) -> AsyncGenerator[JobStatus, None]:
    async for keys in _dead_keys(broker, partition):
        found = await _matching(broker, partition, keys, criteria)
        if brief:
            for job in found:
                yield job
            continue
        left = [parse(job.id)[1] for job in found]
        while left:
            letters = await job_queries.first_statuses(broker, partition, left)
            left = left[len(letters) :]
            for letter in letters:
                if letter is not None and criteria.matches(letter):
                    yield letter


async def _in_full(broker: Broker, jobs: Sequence[JobStatus]) -> list[JobStatus]:
    """Jobs of any queues with everything that is known about them; what is gone by now is left out."""
    full: dict[str, JobStatus] = {}
    for queue, refs in groupby(sorted(parse(job.id) for job in jobs), key=lambda ref: ref.queue):
        found = await job_queries.statuses(broker, queue, [ref.key for ref in refs])
        full |= {job.id: job for job in found if job is not None}
    return [full[job.id] for job in jobs if job.id in full]


async def count_dead(broker: Broker, queues: Iterable[str]) -> int:
    """How many dead letters there are."""
    names = [broker.keys(queue).dead for queue in queues]
    return sum([await broker.ask(name, partial(_size, name=name)) for name in names])


async def _dead_keys(broker: Broker, queue: str) -> AsyncIterator[list[str]]:
    """Pages by time, not by rank, so that dead letters that are added or removed meanwhile do not shift them."""
    name = broker.keys(queue).dead
    oldest, behind = "+inf", 0  # how many of those that died at the oldest time have been returned
    while page := await broker.ask(name, partial(_older, name=name, than=oldest, behind=behind)):
        yield [decode(key) for key, _ in page]
        last = page[-1][1]
        same = sum(died == last for _, died in page)
        behind = behind + same if repr(last) == oldest else same
        oldest = repr(last)


async def _older(client: Any, name: str, than: str, behind: int) -> list[tuple[bytes, float]]:
    page: list[tuple[bytes, float]] = await client.zrange(
        name, than, "-inf", desc=True, byscore=True, offset=behind, num=PAGE, withscores=True
    )
    return page


async def _size(client: Any, name: str) -> int:
    size: int = await client.zcard(name)
    return size


async def _matching(broker: Broker, queue: str, keys: Sequence[str], criteria: JobFilter) -> list[JobStatus]:
    found: list[JobStatus] = []
    for start in range(0, len(keys), PAGE):
        statuses = await job_queries.statuses(broker, queue, keys[start : start + PAGE], brief=True)
        found += [job for job in statuses if job is not None and criteria.matches(job)]
    return found


def _submitted(job: JobStatus) -> tuple[float, str]:
    return job.submitted_at or 0.0, job.id
