"""What a connected client consists of."""

from __future__ import annotations

from typing import NamedTuple, Self

from taskserver.client.router import PartitionRouter
from taskserver.client.submitter import Submitter
from taskserver.client.waiter import Waiter
from taskserver.embedded import EmbeddedBroker
from taskserver.store.broker.connection import Broker


class Connected(NamedTuple):
    """The broker, and who routes, submits and waits there.

    Attributes:
        broker: The connections.
        embedded: The client's hold on the embedded broker, if it uses that one.
        router: Chooses partitions.
        submitter: Sends jobs.
        waiter: Waits for results and events.
    """

    broker: Broker
    embedded: EmbeddedBroker | None
    router: PartitionRouter
    submitter: Submitter
    waiter: Waiter

    @classmethod
    def to(cls, broker: Broker, embedded: EmbeddedBroker | None) -> Self:
        """Everything for a broker; connections are opened on first use."""
        router = PartitionRouter(broker)
        return cls(broker, embedded, router, Submitter(broker, router.sent), Waiter(broker))

    async def close(self) -> None:
        """Let submits that have begun arrive, then close every connection."""
        await self.router.learned()  # submits that wait for the counts are sent then
        await self.submitter.close()
        await self.router.close()
        await self.waiter.close()
        await self.broker.close()
        if self.embedded:
            self.embedded.release()
