"""What can be read of a running worker at any time, from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from taskserver.domain.partitions import queue_of
from taskserver.worker.heartbeat import Heartbeat
from taskserver.worker.partition import Partition
from taskserver.worker.service import LoopService
from taskserver.worker.slots import Slots


class Vitals(NamedTuple):
    """The parts of a worker that are measured.

    Attributes:
        slots: Its slots.
        heartbeat: Renews its leases.
        partitions: What it has for each partition, by the partition's name; more may be added.
        others: Its other services.
    """

    slots: Slots
    heartbeat: Heartbeat
    partitions: Mapping[str, Partition]
    others: Sequence[LoopService]

    def by_queue(self, *read: Callable[[Partition], float]) -> list[tuple[Any, ...]]:
        """Each queue's name, as labels, and the sums over its partitions of what is read of each."""
        sums: dict[str, list[float]] = {}
        for name, partition in self.partitions.items():
            known = sums.setdefault(queue_of(name), [0] * len(read))
            for position, each in enumerate(read):
                known[position] += each(partition)
        return [((queue,), *values) for queue, values in sums.items()]

    @property
    def broker_errors(self) -> dict[str, int]:
        """Calls that were not answered or refused, by kind of service: with queues' names there would be many more."""
        errors = {"heartbeat": self.heartbeat.broker_errors}
        services = (service for partition in self.partitions.values() for service in partition.services)
        for each in (*services, *self.others):
            kind = each.name.partition(" ")[0]
            errors[kind] = errors.get(kind, 0) + each.broker_errors
        return errors
