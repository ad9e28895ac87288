"""Claiming jobs for free slots, and waiting for jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from taskserver.domain.job import ClaimedJob
from taskserver.domain.lanes import LANES, RETURNED, LaneQuotas
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.connections import BLOCK_SECONDS
from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.keys import GROUP
from taskserver.store.replies import decode_pairs

RETRY_SECONDS = 0.01


class StreamEntry(NamedTuple):
    """A stream entry that a blocking read returned; its job has not begun. ``key`` is empty if it names no job."""

    lane: bytes
    id: bytes
    key: bytes


class DiscardedEntry(NamedTuple):
    """A stream entry that was deleted because no job can be begun by it, and why."""

    entry: str
    reason: str


class Claim(NamedTuple):
    """The answer to a claim.

    Attributes:
        jobs: Jobs whose attempts have begun.
        paused: Whether the queue is paused.
        drained: Whether nothing more is queued.
        room: Maximum number of jobs for which the next answer has room, if their messages are like these; 0 if there
            are none.
        discarded: Stream entries that were deleted.
    """

    jobs: list[ClaimedJob]
    paused: bool
    drained: bool
    room: int
    discarded: list[DiscardedEntry]


async def claim(
    broker: Broker,
    queue: str,
    worker: str,
    quotas: LaneQuotas,
    attempts_cap: int,
    entries: Sequence[StreamEntry] = (),
) -> Claim:
    """Begin attempts for as many jobs as the quotas add up to, those of ``entries`` first.

    An answer holds about a mebibyte of messages, or one job that is larger, so there may be fewer. Ask for no more than
    the ``room`` of the last answer: jobs for which there is none must be queued again.

    Args:
        broker: Where.
        queue: Which queue.
        worker: The worker that claims.
        quotas: Maximum number of jobs from each lane; what a lane does not use goes to the others.
        attempts_cap: Maximum number of attempts for jobs whose submitter set none.
        entries: What a blocking read of this worker returned.

    Raises:
        BrokerUnavailable: if the answer was lost; jobs that had begun come back by ``recall``, or when their lease
            runs out.
    """
    args: list[Any] = [worker, sum(quotas), *quotas, attempts_cap]
    for entry in entries:
        args += entry
    gate, room, flat, refused = await broker.run("claim", queue, *args, once=True)
    jobs = [
        ClaimedJob(queue, str(key, "utf-8", "backslashreplace"), attempt, fence, int(limit) if limit else None, *rest)
        for key, attempt, fence, limit, *rest in zip(*[iter(flat)] * 6, strict=True)
    ]
    discarded = [DiscardedEntry(*pair) for pair in decode_pairs(refused)] if refused else []
    return Claim(jobs, gate == b"paused", gate == b"drained", room, discarded)


class BlockingReader:
    """Waits until a queue has a job: one blocking read at a time, on a connection of its own.

    A read in flight is never cancelled: the entries in its answer would be pending, and nobody would know of them.
    ``interrupt`` asks the server to answer it now instead.
    """

    def __init__(self, broker: Broker, queue: str, worker: str) -> None:
        self._broker = broker
        self._keys = broker.keys(queue)
        lanes = [self._keys.lane(lane) for lane in (RETURNED, *LANES)]
        options = ("COUNT", 1, "BLOCK", int(BLOCK_SECONDS * 1000))
        self._command = ["XREADGROUP", "GROUP", GROUP, worker, *options, "STREAMS", *lanes, *(">" for _ in lanes)]
        self._server = ""
        self._generation = -1
        self._connection: ScriptConnection | None = None
        self._connection_id = 0
        self._reading = False

    async def read(self) -> list[StreamEntry]:
        """Up to one entry per lane, as soon as there is any; nothing after ``BLOCK_SECONDS`` or an interrupt.

        Raises:
            BrokerUnavailable: if the connection broke.
        """
        self._reading = True
        try:
            with self._broker.translated():
                connection = await self._connect()
                answer = await connection.call(*self._command)
        except BaseException:
            self._disconnect()  # the queue may be on another server by now
            raise
        finally:
            self._reading = False
        return [
            StreamEntry(stream.rpartition(b":")[2], id_, _job_in(fields))
            for stream, items in answer or ()
            for id_, fields in items
        ]

    async def _connect(self) -> ScriptConnection:
        """The connection to the server that has the queue; after a failover, that is another server."""
        connection, generation = self._connection, self._broker.generation
        if connection is None or connection.broken or generation != self._generation:
            server = await self._broker.server(self._keys.prefix)
            if connection is None or connection.broken or server != self._server:
                connection = await self._connect_to(server)
            self._generation = generation
        return connection

    async def _connect_to(self, server: str) -> ScriptConnection:
        self._disconnect()
        connection = self._broker.connections.blocking(server)
        self._connection_id = int(await connection.call("CLIENT", "ID"))
        self._connection, self._server = connection, server
        return connection

    def _disconnect(self) -> None:
        self._connection_id = 0
        if self._connection is not None:
            self._broker.connections.release(self._connection)
            self._connection = None

    async def interrupt(self) -> None:
        """End a read in flight; harmless if there is none.

        It may not have reached the server yet, so the server is asked until it was blocked there.
        """
        while self._reading:
            if self._connection_id:
                with self._broker.translated():
                    if await self._broker.client(self._server).client_unblock(self._connection_id):
                        return
            await asyncio.sleep(RETRY_SECONDS)


def _job_in(fields: Sequence[bytes] | None) -> bytes:
    """The job that a stream entry names; empty if it names no job, or was deleted."""
    pairs = fields or ()
    return dict(zip(pairs[::2], pairs[1::2], strict=False)).get(b"job", b"")
