"""The partitions that a worker works on: one registry, with one writer and readers in any thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from taskserver.errors import BrokerError
from taskserver.store.jobs.lease import announce
from taskserver.store.jobs.recover import leave
from taskserver.store.maintenance.partitioning import grow
from taskserver.worker.control import Control
from taskserver.worker.executor import Executor
from taskserver.worker.partition import Partition, PartitionSettings
from taskserver.worker.slots import FairSlots, QueueShare

log = logging.getLogger("taskserver.worker")


class Partitions(Mapping[str, Partition]):
    """What a worker has for each partition of its queues, by the partition's name.

    Only the event loop's thread adds to it. Each time, a new dictionary takes the place of the old one, so what another
    thread is going through does not change under it.

    Args:
        settings: What all of them have in common.
        slots: Where each gets its part of the slots.
        executor: Runs their jobs.
        control: Listens to their control channels.
        snapshot: The worker's ``WorkerSnapshot``, packed.
    """

    def __init__(
        self,
        settings: PartitionSettings,
        slots: FairSlots,
        executor: Executor,
        control: Control,
        snapshot: Callable[[], bytes],
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._executor = executor
        self._control = control
        self._snapshot = snapshot
        self._by_name: dict[str, Partition] = {}

    def __getitem__(self, name: str) -> Partition:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def add(self, names: Iterable[str]) -> list[Partition]:
        """Build what there is one of per partition, for those that are new; nothing is started by that."""
        new = {
            name: Partition(name, self._settings, self._slots.add(name), self._executor)
            for name in names
            if name not in self._by_name
        }
        self._by_name = {**self._by_name, **new}
        self._settings.pace.partitions = len(self._by_name)
        return list(new.values())

    async def open(self, names: Iterable[str]) -> None:
        """Add partitions, and see to it that all of them are at the broker and are listened to; before they start.

        Raises:
            BrokerUnavailable, BrokerFull: if the broker does not answer, or has no memory for them.
        """
        self.add(names)
        for name in self:
            await self._settings.broker.prepare(name)
        await self._control.listen({name: partition.handlers for name, partition in self.items()})

    async def take_up(self, names: Iterable[str]) -> None:
        """Work on more partitions from now on.

        Raises:
            BrokerError: if the broker does not answer, or refuses.
        """
        settings, names = self._settings, list(names)
        for name in names:
            await settings.broker.prepare(name)
        valid_ms, begun = round(settings.lease * 1000), time.monotonic()
        await asyncio.to_thread(announce, settings.broker, settings.worker, names, self._snapshot(), valid_ms)
        added = self.add(names)
        for partition in added:  # at once: whatever fails after it was added, it is served
            self.renewed(partition.name, begun + settings.lease)
            for service in partition.services:
                await service.start()
        await self._control.listen({partition.name: partition.handlers for partition in added})
        log.info("worker %s is now consuming partitions: %s", settings.worker, ", ".join(names))

    def renewed(self, name: str, until: float) -> None:
        """The broker knows that this worker is alive: it may claim jobs of a partition until then. From any thread."""
        self._by_name[name].fetcher.leased_until = until

    async def declare(self, shares: Iterable[QueueShare]) -> None:
        """Let queues have as many partitions as is declared for them.

        Raises:
            BrokerError: if the broker does not answer, or refuses.
        """
        for share in shares:
            if share.partitions is not None:
                known = await grow(self._settings.broker, share.queue, share.partitions)
                if known > share.partitions:
                    log.warning(
                        "queue %s has %d partitions, not %d: the largest number ever declared applies",
                        *(share.queue, known, share.partitions),
                    )

    async def leave(self) -> None:
        """Take the worker out of all partitions: it has stopped."""
        await asyncio.gather(*map(self._leave, self))

    async def _leave(self, name: str) -> None:
        try:
            await leave(self._settings.broker, name, self._settings.worker)
        except BrokerError as error:
            log.debug("could not leave queue %s: %s", name, error)
