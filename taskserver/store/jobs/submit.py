"""Submitting jobs, one script call per batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from taskserver.domain.durability import IN_MEMORY
from taskserver.domain.job import NewJob
from taskserver.domain.lanes import DEFAULT_LANE
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.durable import confirm_earlier, run_durably

BATCH_JOBS = 500
BATCH_BYTES = 1024 * 1024
"""A script call blocks the whole server, so batches are bounded in jobs and bytes."""


async def submit(broker: Broker, queue: str, jobs: Sequence[NewJob]) -> set[str]:
    """Write jobs; one that is already known stays as it is, so a call may be repeated.

    Returns:
        The keys of the jobs that were known already.

    Raises:
        BrokerUnavailable: if it is unknown whether they were written.
        BrokerFull: if the server is out of memory; earlier batches of a large call have been written.
        NotReplicated: if they are written, but the durability of the broker was not confirmed.
    """
    await broker.prepare(queue)
    write = run_durably if broker.durability != IN_MEMORY else Broker.run
    known: set[str] = set()

    async def send(batch: Sequence[NewJob]) -> None:
        args: list[Any] = []
        for job in batch:
            args += (job.key, job.payload, _options(job))
        known.update(batch[position].key for position in await write(broker, "submit", queue, *args))

    await _overlapping(send, _batches(jobs))
    if known and write is run_durably:
        await confirm_earlier(broker, queue)
    return known


async def _overlapping(send: Callable[[Sequence[NewJob]], Awaitable[None]], batches: list[Sequence[NewJob]]) -> None:
    """Send batches in order, each while the server is still working on the one before."""
    if len(batches) == 1:
        await send(batches[0])
        return
    on_the_way: deque[asyncio.Future[None]] = deque()
    try:
        for batch in batches:
            if len(on_the_way) == 2:
                await on_the_way.popleft()
            on_the_way.append(asyncio.ensure_future(send(batch)))
        while on_the_way:
            await on_the_way.popleft()
    finally:
        await asyncio.gather(*on_the_way, return_exceptions=True)


def _batches(jobs: Sequence[NewJob]) -> list[Sequence[NewJob]]:
    batches, start, size = [], 0, 0
    for position, job in enumerate(jobs):
        if position > start and (position - start >= BATCH_JOBS or size + len(job.payload) > BATCH_BYTES):
            batches.append(jobs[start:position])
            start, size = position, 0
        size += len(job.payload)
    return [*batches, jobs[start:]]


def _options(job: NewJob) -> bytes:
    """The options that differ from the defaults: mostly none, and then nothing is sent or stored."""
    if job == NewJob(job.key, job.payload):
        return b""
    options = {
        "lane": job.lane if job.lane != DEFAULT_LANE else None,
        "max": job.max_attempts,
        "delay": job.delay_ms,
        "due": job.due_ms,
        "expires": job.expires_ms,
        "ttl": job.result_ttl_ms,
    }
    return msgspec.msgpack.encode({name: value for name, value in options.items() if value})
