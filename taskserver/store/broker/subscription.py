"""Hearing news: one subscription connection for any number of channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from taskserver.errors import BrokerError, BrokerUnavailable
from taskserver.store.broker.connection import Broker

SILENCE_SECONDS = 5.0
"""After this long without news the connection is pinged; after as long again without an answer it is given up."""


class Subscription:
    """Subscribes to channels and yields what is said on them.

    News may be lost (the connection breaks, the server fails over), so they only say when to look; who listens
    must also look by itself now and then, and after every reconnection.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._channels: dict[str, None] = {}
        self._client: Any = None
        self._pubsub: Any = None
        self._unheard = False
        self._connecting = asyncio.Lock()  # two first subscriptions at once would open two connections

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to more channels.

        Raises:
            BrokerUnavailable: if the broker does not answer; ``messages`` subscribes to them as soon as it does.
        """
        new = [channel for channel in channels if channel not in self._channels]
        self._channels.update(dict.fromkeys(new))
        with self._broker.translated():
            if self._pubsub is None:
                await self._connect()
            elif new:
                self._unheard = True  # until it is known to have worked; else all are subscribed to anew
                async with self._connecting:
                    await self._pubsub.subscribe(*new)
                self._unheard = False

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Channel and message, one after the other; an empty message each time a subscription has taken effect.

        Raises:
            BrokerUnavailable: when the connection breaks; called again, it connects and subscribes anew.
        """
        pinged = False
        while True:
            try:
                with self._broker.translated():
                    await self._connect()
                    message = await self._pubsub.get_message(timeout=SILENCE_SECONDS)
                    if message is None and not pinged:
                        await self._pubsub.ping()
                if message is None and (pinged or self._unheard):
                    raise BrokerUnavailable(f"the broker at {self._broker.shown} has fallen silent")
            except BrokerError:
                await self.close()
                raise
            pinged = message is None
            if message is not None and message["type"] in ("message", "subscribe"):
                data = message["data"] if message["type"] == "message" else b""
                yield message["channel"].decode(), data

    async def _connect(self) -> None:
        """Subscribe to everything, at the server that holds the queue of the first channel.

        In a cluster, what is said at one node is heard at all of them.
        """
        async with self._connecting:
            if self._pubsub is None:
                client = self._broker.connections.reader(await self._broker.server(next(iter(self._channels))))
                pubsub = client.pubsub()
                try:
                    await pubsub.subscribe(*self._channels)
                except BaseException:
                    await self._broker.connections.discard(client)  # each try has one of its own
                    raise
                self._client, self._pubsub, self._unheard = client, pubsub, False

    async def close(self) -> None:
        """Close the connection."""
        pubsub, client, self._pubsub, self._client = self._pubsub, self._client, None, None
        if pubsub is not None:
            with suppress(RedisError, OSError):
                await pubsub.aclose()
        if client is not None:
            await self._broker.connections.discard(client)
