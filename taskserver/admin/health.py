"""The broker and the keys: examined, repaired, and read for metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from taskserver.admin.connection import Connection
from taskserver.aio import wait_all
from taskserver.store.broker import health
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.health import Finding
from taskserver.store.broker.schema import Schema
from taskserver.store.maintenance import doctor
from taskserver.store.queries.gauges import GaugeReader, Gauges

QUEUES_AT_ONCE = 8
"""Queues that are examined at the same time; the server has other work too."""
Progress = Callable[[str, int, int], object]
"""Called with the queue that is being examined, how many of its keys are done, and about how many there are."""


class HealthInspector(Connection):
    """Methods about the broker as a whole."""

    def __init__(self, url: str | None = None, *, signing_keys: str | None = None) -> None:
        super().__init__(url, signing_keys=signing_keys)
        self._readers: dict[tuple[tuple[str, ...], tuple[str, ...]], GaugeReader] = {}

    async def schema(self) -> Schema:
        """The schema of the broker's keys: its number, the oldest version that knows it, and if this one does.

        Raises:
            BrokerUnsuitable: if its record is not valid.
            BrokerUnavailable, BrokerDenied: if the broker cannot be asked.
        """
        return await (await self._broker()).read_schema()

    async def examine_broker(self) -> list[Finding]:
        """Examine the servers and the schema of their keys, but no queue.

        Raises:
            BrokerUnavailable, BrokerDenied: if the broker cannot be asked.
        """
        return await self._examine_broker(repair=False)

    async def examine(self, progress: Progress | None = None) -> list[Finding]:
        """Examine the servers, the list of queues and every key of every queue; nothing is changed.

        The queues are skipped if their keys are of another schema, which this version cannot judge.

        Args:
            progress: Called after each step.

        Raises:
            BrokerUnavailable, BrokerDenied: if the broker cannot be asked.
        """
        findings = await self._examine_broker(repair=False)
        return findings + (await self._examine_queues(progress) if _usable(findings) else [])

    async def repair(self, progress: Progress | None = None) -> list[Finding]:
        """Repair what can be repaired, then examine everything again.

        Nothing that a person may still want is deleted: it is set aside. Safe while workers run.

        Args:
            progress: Called after each step.

        Returns:
            As ``examine``; what was done comes first among the findings of the queues, with the level ``repaired``.

        Raises:
            BrokerUnavailable, BrokerDenied: if the broker cannot be asked, or written to.
        """
        findings = await self._examine_broker(repair=True)
        if not _usable(findings):
            return findings
        broker = await self._broker()
        findings += await doctor.repair_registry(broker)
        findings += await _of_each_queue(broker, doctor.repair_queue, progress)
        return findings + await self._examine_queues(progress)

    async def gauges(self, *queues: str, declared: Sequence[str] = ()) -> Gauges:
        """The figures of all queues and workers at this moment, read cheaply enough to be asked every few seconds.

        The first call starts reading the workers in the background, which lasts until the inspector is closed. So the
        workers are those of a few seconds ago.

        Args:
            *queues: Only these, which need not exist yet; all if none is named, at most 500.
            declared: These first, which need not exist yet either.

        Raises:
            BrokerError: if the broker cannot be asked.
        """
        broker = await self._broker()
        which = (queues, tuple(declared))
        reader = self._readers.get(which)
        if reader is None:
            reader = self._readers[which] = GaugeReader(broker, *which)
            self._once.stack.callback(self._readers.pop, which)
            self._once.stack.push_async_callback(reader.close)
        return await reader.read()

    async def _examine_broker(self, *, repair: bool) -> list[Finding]:
        broker = await self._broker()
        return await health.examine_servers(broker) + await health.examine_schema(broker, repair=repair)

    async def _examine_queues(self, progress: Progress | None) -> list[Finding]:
        broker = await self._broker()
        return await doctor.examine_registry(broker) + await _of_each_queue(broker, doctor.examine_queue, progress)


async def _of_each_queue(
    broker: Broker, look: Callable[[Broker, str, Progress], Awaitable[list[Finding]]], progress: Progress | None
) -> list[Finding]:
    """The findings of all queues, in the order of their names."""
    slots = asyncio.Semaphore(QUEUES_AT_ONCE)

    async def look_at(queue: str) -> list[Finding]:
        async with slots:
            return await look(broker, queue, progress or _silent)

    found = await wait_all(look_at(queue) for queue in await doctor.queue_names(broker))
    return [finding for each in found for finding in each]


def _usable(findings: list[Finding]) -> bool:
    """Whether the schema, which is examined last, is known."""
    return findings[-1].level != "error"


def _silent(*_: object) -> None:
    """Report nothing."""
