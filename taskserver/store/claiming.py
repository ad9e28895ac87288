"""Claiming jobs for free slots, and waiting for some to come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from taskserver.domain.job import ClaimedJob
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.connection import BLOCK_SECONDS, Broker
from taskserver.store.keys import GROUP
from taskserver.store.replies import grouped, text, text_pairs

ASK_AGAIN_SECONDS = 0.01


class Entry(NamedTuple):
    """A stream entry that a blocking read brought; its job has not begun. ``key`` is empty if it names none."""

    lane: str
    id: str
    key: str


class Claim(NamedTuple):
    """What a claim gave: jobs that have begun, whether the queue is paused, and entries that were thrown away."""

    jobs: list[ClaimedJob]
    paused: bool
    refused: list[tuple[str, str]]


async def claim(
    broker: Broker,
    queue: str,
    worker: str,
    quotas: tuple[int, int, int],
    attempts_cap: int,
    entries: Sequence[Entry] = (),
) -> Claim:
    """Begin attempts for as many jobs as the lanes' quotas add up to, those of ``entries`` first.

    Args:
        broker: Where.
        queue: Which queue.
        worker: Who claims.
        quotas: Jobs from the high, normal and low lane; lanes without jobs pass theirs on.
        attempts_cap: Attempts at most for jobs whose submitter did not say.
        entries: What a blocking read of this worker brought.

    Raises:
        BrokerUnavailable: if the answer was lost; jobs that had begun come back when their lease runs out.
    """
    args: list[Any] = [worker, sum(quotas), *quotas, attempts_cap]
    for entry in entries:
        args += entry
    gate, flat, refused = await broker.run("claim", queue, *args, once=True)
    jobs = [
        ClaimedJob(queue, text(key), attempt, fence, int(limit) if limit else None, payload, entry)
        for key, attempt, fence, limit, payload, entry in grouped(flat, 6)
    ]
    return Claim(jobs, gate == b"paused", list(text_pairs(refused)))


class WakeUp:
    """Waits at the broker until a queue has a job: one blocking read at a time, on a connection of its own.

    A read in flight is never cancelled, for the entries in its answer would be pending and unseen. To stop one
    early, ``interrupt`` asks the server to answer it now.
    """

    def __init__(self, broker: Broker, queue: str, worker: str) -> None:
        self._broker = broker
        self._worker = worker
        self._keys = broker.keys(queue)
        self._streams = {self._keys.lane(lane): ">" for lane in (RETURNED, *LANES)}
        self._server = ""
        self._client: Any = None
        self._connection_id: int | None = None
        self._reading = False

    async def read(self) -> list[Entry]:
        """Up to one entry a lane, as soon as there is one; nothing after ``BLOCK_SECONDS`` or an interrupt.

        Raises:
            BrokerUnavailable: if the broker was lost meanwhile.
        """
        self._reading = True
        try:
            with self._broker.translated():
                await self._connect()
                answer = await self._client.xreadgroup(
                    GROUP, self._worker, self._streams, count=1, block=int(BLOCK_SECONDS * 1000)
                )
        except BaseException:
            await self._disconnect()  # the queue may be on another server by now
            raise
        finally:
            self._reading = False
        return [
            Entry(text(stream).rpartition(":")[2], text(id_), text((fields or {}).get(b"job", b"")))
            for stream, items in answer or ()
            for id_, fields in items
        ]

    async def _connect(self) -> None:
        server = await self._broker.server(self._keys.prefix)
        if server != self._server:
            await self._disconnect()
            self._client, self._server = self._broker.reader(server, self._greet), server

    async def _greet(self, connection: Any) -> None:
        """Learn the connection's id each time it is made: the library makes it anew, unasked, when it was closed."""
        await connection.on_connect()
        await connection.send_command("CLIENT", "ID")
        self._connection_id = int(await connection.read_response())

    async def _disconnect(self) -> None:
        self._connection_id, self._server = None, ""
        if self._client is not None:
            await self._broker.discard(self._client)

    async def interrupt(self) -> None:
        """Make a read that is under way return; harmless when there is none.

        A read that has begun here need not have reached the server yet, so it is asked until it was blocked there.
        """
        while self._reading:
            if self._connection_id is not None:
                with self._broker.translated():
                    if await self._broker.client(self._server).client_unblock(self._connection_id):
                        return
            await asyncio.sleep(ASK_AGAIN_SECONDS)
