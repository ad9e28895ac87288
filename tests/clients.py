"""What tests need of a client beyond its public interface."""

from __future__ import annotations

from taskserver import Client
from taskserver.store.broker.connection import Broker


async def broker_of(client: Client) -> Broker:
    """The broker that the client is connected to."""
    return (await client._connect()).broker
