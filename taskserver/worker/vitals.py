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
    """The parts of a worker that tell of it.

    Attributes:
        slots: Its slots.
        heart: Its heart.
        works: What it has for each partition, by the partition's name; there may come more.
        others: Its other services.
        leases_lost: Running jobs that were taken from it, by queue.
    """

    slots: Slots
    heart: Heartbeat
    works: Mapping[str, Partition]
    others: Sequence[LoopService]
    leases_lost: Mapping[str, int]

    def by_queue(self, *read: Callable[[Partition], float]) -> list[tuple[Any, ...]]:
        """Of each queue its name, as labels, and the sums of what is read over its partitions."""
        sums: dict[str, list[float]] = {}
        for name, work in list(self.works.items()):
            known = sums.setdefault(queue_of(name), [0] * len(read))
            for position, each in enumerate(read):
                known[position] += each(work)
        return [((queue,), *values) for queue, values in sums.items()]

    @property
    def broker_errors(self) -> dict[str, int]:
        """Calls that were not answered or refused, by kind of service: with queues' names there would be many more."""
        errors = {"heart": self.heart.broker_errors}
        services = (service for work in list(self.works.values()) for service in work.services)
        for each in (*services, *self.others):
            kind = each.name.partition(" ")[0]
            errors[kind] = errors.get(kind, 0) + each.broker_errors
        return errors
