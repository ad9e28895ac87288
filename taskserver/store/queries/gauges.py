"""The state of all queues and workers of a broker, cheap enough to be read every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from taskserver.aio import cancel_and_wait
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import partitions, queues
from taskserver.store.queries.queues import QueueInfo
from taskserver.store.queries.workers import WorkerInfo, list_workers

MOST_QUEUES = 500
"""Maximum number of queues that are read one by one; a program that names a queue per session has any number."""
AT_ONCE = 8
WORKERS_SECONDS = 5.0
"""Minimum pause between two readings of the workers. A reading takes a few round trips per queue, so with many
queues it takes long, and then the pauses are longer too."""
SHARE = 10
"""How many times longer than a reading of the workers the pause after it is at least."""


class Gauges(NamedTuple):
    """One reading.

    Attributes:
        known: Number of queues.
        queues: At most ``MOST_QUEUES`` of them: first the declared ones, then those that workers consume.
        workers: Live workers of these queues.
        left_out: Number of queues that were not read, because there are too many.
    """

    known: int
    queues: list[QueueInfo]
    workers: list[WorkerInfo]
    left_out: int = 0


class GaugeReader:
    """Reads queues when asked, and workers continuously, in a task of its own.

    Args:
        broker: Where.
        only: Queues to read; all if it is empty.
        declared: Queues to read first, even if nobody has used them yet.
    """

    def __init__(self, broker: Broker, only: Sequence[str] = (), declared: Sequence[str] = ()) -> None:
        self._broker = broker
        self._only = list(only)
        self._declared = list(declared)
        self._workers: list[WorkerInfo] | None = None
        self._first = asyncio.Event()
        self._reading_workers: asyncio.Task[None] | None = None

    async def read(self) -> Gauges:
        """The current state; that of the workers is some seconds old.

        Raises:
            BrokerError: if the queues cannot be read.
        """
        if self._reading_workers is None or self._reading_workers.done():
            self._reading_workers = asyncio.create_task(self._read_workers())
            self._reading_workers.add_done_callback(lambda _: self._first.set())  # nobody may wait for it in vain
        known = await partitions.by_queue(self._broker)
        await self._first.wait()
        names = self._only or self._in_order(known)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> QueueInfo:
            if name not in known:
                return queues.unused(name)
            async with slots:
                return await queues.combined_info(self._broker, name, known[name])

        infos = await asyncio.gather(*(one(name) for name in names[:MOST_QUEUES]))
        return Gauges(len(self._only or known), infos, self._workers or [], len(names) - len(infos))

    def _in_order(self, known: Mapping[str, object]) -> list[str]:
        consumed = sorted({name for worker in self._workers or () for name in worker.queues} & known.keys())
        return list(dict.fromkeys((*self._declared, *consumed, *known)))

    async def close(self) -> None:
        """Stop reading; harmless when repeated."""
        if self._reading_workers is not None:
            await cancel_and_wait(self._reading_workers)

    async def _read_workers(self) -> None:
        while True:
            began = time.monotonic()
            with suppress(BrokerError):  # reading the queues raises it too
                self._workers = await list_workers(self._broker, self._only or None)
                self._first.set()
            await asyncio.sleep(max(WORKERS_SECONDS, SHARE * (time.monotonic() - began)))
