"""Submitting jobs, one script call per batch."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from taskserver.domain.durability import IN_MEMORY
from taskserver.domain.job import ExistingJob, NewJob, State
from taskserver.domain.lanes import DEFAULT_LANE
from taskserver.errors import BrokerError, BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.durable import confirm_earlier, run_durably
from taskserver.store.replies import decode, grouped

BATCH_JOBS = 500
BATCH_BYTES = 1024 * 1024
"""A script call blocks the whole server, so batches are bounded in jobs and bytes."""


class Submitted(NamedTuple):
    """What became of each of some jobs; those that are in neither field are written.

    Attributes:
        known: The keys of the jobs that were known already.
        existing: Those of them with an idempotency key that another call has submitted, by their ``call``.
        failed: For each job that is not acknowledged, by its key, why. ``BrokerUnavailable`` means that it is unknown
            whether it was written, ``NotReplicated`` that it was, any other error that it was not.
    """

    known: set[str]
    existing: dict[str, ExistingJob]
    failed: dict[str, BrokerError]


async def submit(broker: Broker, queue: str, jobs: Sequence[NewJob]) -> Submitted:
    """Write jobs; one that is already known stays as it is, so a call may be repeated.

    An ended job is run again if its ``on_existing`` says so, and the message is the same.

    Each job has its own outcome: what is refused does not take along what is written. When the broker does not answer,
    the jobs that were not sent yet are not sent.
    """
    submission = _Submission(broker, queue)
    await _overlapping(submission.send, _batches(jobs))
    if submission.known and broker.durability != IN_MEMORY:
        await submission.confirm_known()
    return Submitted(submission.known, submission.existing, submission.failed)


class _Submission:
    """One call of ``submit``: sends batches, and notes what becomes of their jobs."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self._broker = broker
        self._queue = queue
        self._lost: BrokerUnavailable | None = None
        self.known: set[str] = set()
        self.existing: dict[str, ExistingJob] = {}
        self.failed: dict[str, BrokerError] = {}

    async def send(self, batch: Sequence[NewJob]) -> None:
        """Write one batch with one script call."""
        try:
            if self._lost is not None:
                raise self._lost
            await self._broker.prepare(self._queue)
            await self._write(batch)
        except BrokerUnavailable as error:
            self._lost = error
            self._fail(batch, error)
        except BrokerError as error:
            self._fail(batch, error)

    async def _write(self, batch: Sequence[NewJob]) -> None:
        args = [value for job in batch for value in (job.key, job.payload, _options(job))]
        if self._broker.durability == IN_MEMORY:
            known, refused, existing = await self._broker.run("submit", self._queue, *args)
        else:
            (known, refused, existing), unconfirmed = await run_durably(self._broker, "submit", self._queue, *args)
            if unconfirmed is not None:
                self._fail(batch, unconfirmed)
        self.known.update(batch[position].key for position in known)
        for position, text in grouped(refused, 2) if refused else ():
            self.failed[batch[position].key] = self._broker.refusal(decode(text))
        for position, state, conflicts in grouped(existing, 3) if existing else ():
            self.existing[batch[position].call] = ExistingJob(State(decode(state)), bool(conflicts))

    async def confirm_known(self) -> None:
        """Wait until the jobs that were known already are as durable as the others."""
        known = [key for key in self.known if key not in self.failed]
        try:
            await confirm_earlier(self._broker, self._queue)
        except BrokerError as error:
            self.failed.update(dict.fromkeys(known, error))

    def _fail(self, batch: Sequence[NewJob], error: BrokerError) -> None:
        self.failed.update((job.key, error) for job in batch)


async def _overlapping(
    send: Callable[[Sequence[NewJob]], Awaitable[None]], batches: Iterator[Sequence[NewJob]]
) -> None:
    """Send batches in order, each while the server is still working on the one before."""
    on_the_way: deque[asyncio.Future[None]] = deque()
    batch, following = next(batches), next(batches, None)
    if following is None:  # the usual case, without a task
        await send(batch)
        return
    try:
        for each in chain((batch, following), batches):
            if len(on_the_way) == 2:
                await on_the_way.popleft()
            on_the_way.append(asyncio.ensure_future(send(each)))
        while on_the_way:
            await on_the_way.popleft()
    finally:
        await asyncio.gather(*on_the_way, return_exceptions=True)


def _batches(jobs: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    start, size = 0, 0
    for position, job in enumerate(jobs):
        if position > start and (position - start >= BATCH_JOBS or size + len(job.payload) > BATCH_BYTES):
            yield jobs[start:position]
            start, size = position, 0
        size += len(job.payload)
    yield jobs[start:]


def _packed_text(data: bytes) -> msgspec.Raw:
    """Bytes as a MessagePack string, since Lua's library knows no other type for them."""
    return msgspec.Raw(struct.pack(">BH", 0xDA, len(data)) + data)


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
        "about": job.about and _packed_text(job.about),
        "digest": job.digest,
        "call": job.call,
        "rerun": job.on_existing == "rerun",
    }
    return msgspec.msgpack.encode({name: value for name, value in options.items() if value})
