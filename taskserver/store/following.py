"""Hearing news: one subscription connection for any number of channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from taskserver.errors import BrokerUnavailable
from taskserver.store.connection import Broker

SILENCE_SECONDS = 5.0
"""After this long without news the connection is pinged; after as long again without an answer it is given up."""


class Listener:
    """Subscribes to channels and yields what is said on them.

    News may be lost (the connection breaks, the server fails over), so they only say when to look; who listens
    must also look by itself now and then, and after every reconnection.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._pubsub = broker.reader().pubsub()
        self._connecting = asyncio.Lock()  # two first subscriptions at once would open two connections

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to more channels."""
        async with self._connecting:
            with self._broker.translated():
                await self._pubsub.subscribe(*channels)

    async def news(self) -> AsyncIterator[tuple[str, bytes]]:
        """Channel and message, one after the other; an empty message each time a subscription has taken effect.

        Raises:
            BrokerUnavailable: when the connection breaks; called again, it connects and subscribes anew.
        """
        pinged = False
        while True:
            with self._broker.translated():
                message = await self._pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None and not pinged:
                    await self._pubsub.ping()
            if message is None and pinged:
                raise BrokerUnavailable(f"the broker at {self._broker.shown} has fallen silent")
            pinged = message is None
            if message is not None and message["type"] in ("message", "subscribe"):
                data = message["data"] if message["type"] == "message" else b""
                yield message["channel"].decode(), data

    async def close(self) -> None:
        """Close the connection."""
        await self._pubsub.aclose()
