"""Watching partitions: finds those that a queue has got since the worker started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

from taskserver.store.broker.connection import Broker
from taskserver.store.queries import partitions
from taskserver.worker.service import LoopService

LOOK_SECONDS = 5.0
"""How soon a new partition is seen if the message about it was lost. Clients look less often."""


class PartitionWatcher(LoopService):
    """Looks for new partitions of a worker's queues.

    Args:
        broker: Where.
        queues: The worker's queues.
        known: The partitions that it works on already.
        take_up: Called with new ones, to work on them too.
    """

    name = "partition_watcher"

    def __init__(
        self,
        broker: Broker,
        queues: Iterable[str],
        known: Collection[str],
        take_up: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._broker = broker
        self._queues = tuple(queues)
        self._known = known
        self._take_up = take_up
        self._grown = asyncio.Event()

    def look_again(self) -> None:
        """A queue has grown: look at once."""
        self._grown.set()

    async def find(self, *, thorough: bool) -> list[str]:
        """The partitions that the worker does not work on yet.

        Args:
            thorough: Whether to read the list of queues too, which also has partitions whose count was lost. It may be
                long, so that is for the start.
        """
        if thorough:
            names = await partitions.expand(self._broker, *self._queues)
        else:
            counted = await partitions.counts(self._broker)
            names = [name for queue in self._queues for name in partitions.merge(queue, (), counted)]
        return [name for name in names if name not in self._known]

    async def turn(self) -> None:
        """Wait until it is time to look, and look once."""
        await self.rest(LOOK_SECONDS, until=self._grown)
        self._grown.clear()
        if self.stopping:
            return
        if new := await self.find(thorough=False):
            await self._take_up(new)

    async def interrupt(self) -> None:
        """Wake the loop, so that it sees the stop."""
        self._grown.set()
