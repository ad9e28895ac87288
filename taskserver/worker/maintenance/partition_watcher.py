"""Surveying: finds the partitions that a queue has got since the worker began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

from taskserver.store.broker.connection import Broker
from taskserver.store.queries import partitions
from taskserver.worker.service import LoopService

LOOK_SECONDS = 5.0
"""How soon a new partition is seen if the word of it was lost. Clients look less often."""


class PartitionWatcher(LoopService):
    """Looks for new partitions of a worker's queues.

    Args:
        broker: Where.
        queues: The worker's queues.
        known: The partitions that it works on already.
        begin: Takes up work on more.
    """

    name = "surveyor"

    def __init__(
        self,
        broker: Broker,
        queues: Iterable[str],
        known: Collection[str],
        begin: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._broker = broker
        self._queues = tuple(queues)
        self._known = known
        self._begin = begin
        self._word = asyncio.Event()

    def look_again(self) -> None:
        """A queue has grown."""
        self._word.set()

    async def find(self, *, thorough: bool) -> list[str]:
        """The partitions that the worker does not work on yet.

        Args:
            thorough: Whether to look at the list of queues too, where those are that are not counted any more. It may
                be long, so that is for the beginning.
        """
        if thorough:
            names = await partitions.expand(self._broker, *self._queues)
        else:
            counted = await partitions.counts(self._broker)
            names = [name for queue in self._queues for name in partitions.merge(queue, (), counted)]
        return [name for name in names if name not in self._known]

    async def turn(self) -> None:
        """Look once, and wait until it is time to look again."""
        await self.rest(LOOK_SECONDS, until=self._word)
        self._word.clear()
        if self.stopping:
            return
        if new := await self.find(thorough=False):
            await self._begin(new)

    async def interrupt(self) -> None:
        """Wake the loop, so that it sees the stop."""
        self._word.set()
