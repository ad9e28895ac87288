"""How all queues and workers of a broker stand at one moment, read so that it may be asked every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from taskserver.aio import cancel_and_wait
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import partitions, queues
from taskserver.store.queries.queues import QueueInfo
from taskserver.store.queries.workers import WorkerInfo, list_workers

MOST_QUEUES = 500
"""Queues that are told one by one; a program that names a queue for each of its sessions has any number."""
AT_ONCE = 8
WORKERS_SECONDS = 5.0
"""Pause between two looks for workers. Such a look goes over every key, so it pauses longer where that takes long."""
SHARE = 10
"""A look that took so long is followed by a pause of so many times that."""


class Gauges(NamedTuple):
    """One reading.

    Attributes:
        known: Queues that there are.
        queues: Those that are told one by one.
        workers: Live workers of any of the queues.
    """

    known: int
    queues: list[QueueInfo]
    workers: list[WorkerInfo]


class GaugeReader:
    """Reads queues when asked, and workers all along, in a task of its own.

    Args:
        broker: Where.
        only: Queues to look at; all if there are none.
    """

    def __init__(self, broker: Broker, only: Sequence[str] = ()) -> None:
        self._broker = broker
        self._only = list(only)
        self._workers: list[WorkerInfo] | None = None
        self._first = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def read(self) -> Gauges:
        """How it all stands now; the workers as of a few seconds ago.

        Raises:
            BrokerError: if the broker does not tell.
        """
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        known = await partitions.by_queue(self._broker)
        names = self._only or list(known)
        room = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> QueueInfo:
            async with room:
                return await queues.overall(self._broker, name, known.get(name, [name]))

        infos = await asyncio.gather(*(one(name) for name in names[:MOST_QUEUES]))
        await self._first.wait()
        return Gauges(len(names), infos, self._workers or [])

    async def close(self) -> None:
        """Look no more; harmless when repeated."""
        if self._looking is not None:
            await cancel_and_wait(self._looking)

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            with suppress(BrokerError):  # whoever reads the queues is told
                self._workers = await list_workers(self._broker, self._only or None)
                self._first.set()
            await asyncio.sleep(max(WORKERS_SECONDS, SHARE * (time.monotonic() - began)))
