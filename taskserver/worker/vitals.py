"""What can be read of a running worker at any time, from any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskserver.worker.fetcher import Fetcher
from taskserver.worker.heart import Heart
from taskserver.worker.service import LoopService
from taskserver.worker.settler import Settler
from taskserver.worker.slots import Slots
from taskserver.worker.sweeper import Sweeper


class Vitals(NamedTuple):
    """The parts of a worker that tell of it; what there is one of per queue, by the queue's name.

    Attributes:
        slots: Its slots.
        heart: Its heart.
        settlers: Its settlers.
        fetchers: Its fetchers.
        sweepers: Its sweepers.
        others: Its other services.
        leases_lost: Running jobs that were taken from it.
    """

    slots: Slots
    heart: Heart
    settlers: Mapping[str, Settler]
    fetchers: Mapping[str, Fetcher]
    sweepers: Mapping[str, Sweeper]
    others: Sequence[LoopService]
    leases_lost: Mapping[str, int]

    @property
    def broker_errors(self) -> dict[str, int]:
        """Calls that were not answered or refused, by kind of service: with queues' names there would be many more."""
        errors = {"heart": self.heart.broker_errors}
        for each in (*self.settlers.values(), *self.fetchers.values(), *self.sweepers.values(), *self.others):
            kind = each.name.partition(" ")[0]
            errors[kind] = errors.get(kind, 0) + each.broker_errors
        return errors
