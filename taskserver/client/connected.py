"""What a connected client consists of."""

from __future__ import annotations

from typing import NamedTuple, Self

from taskserver.client.router import PartitionRouter
from taskserver.client.submitter import Submitter
from taskserver.client.waiter import Waiter
from taskserver.ownership import LoopGuard
from taskserver.store.broker.connection import Broker


class Connected(NamedTuple):
    """The broker, and who routes, submits and waits there.

    Attributes:
        broker: The connections.
        router: Chooses partitions.
        submitter: Sends jobs.
        waiter: Waits for results and events.
    """

    broker: Broker
    router: PartitionRouter
    submitter: Submitter
    waiter: Waiter

    @classmethod
    def to(cls, broker: Broker, guard: LoopGuard) -> Self:
        """Everything for a broker; connections are opened on first use. ``guard`` is the client's."""
        router = PartitionRouter(broker)
        return cls(broker, router, Submitter(broker, router), Waiter(broker, guard))

    async def close(self) -> None:
        """Let submits that have begun arrive, and stop waiting; the broker stays open."""
        await self.router.learned()  # submits that wait for the counts are sent then
        await self.submitter.close()
        await self.router.close()
        await self.waiter.close()
