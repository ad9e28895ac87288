"""Subscribing to channels: one connection for any number of them, left some time after their last use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Generic, TypeVar

from redis import exceptions as redis_errors

from taskserver.errors import BrokerError, BrokerUnavailable
from taskserver.store.broker.connection import Broker

SILENCE_SECONDS = 5.0
"""After this time without a message the connection is pinged; after as long again without an answer it is closed."""

IDLE_CHANNELS = 100
"""Maximum number of channels that are kept although nobody uses them: the next user often needs the same."""

K = TypeVar("K")
T = TypeVar("T")


class Subscription:
    """Subscribes to channels and yields their messages.

    Messages can be lost (the connection breaks, the server fails over), so they are only hints: the caller must also
    check by itself now and then, and after every reconnection.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._channels: dict[str, None] = {}
        self._client: Any = None
        self._pubsub: Any = None
        self._unconfirmed = False
        self._connecting = asyncio.Lock()  # two first subscriptions at once would open two connections

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to more channels.

        Raises:
            BrokerUnavailable: if the broker does not answer; ``messages`` subscribes to them as soon as it does.
        """
        new = [channel for channel in channels if channel not in self._channels]
        self._channels.update(dict.fromkeys(new))
        with self._translated():
            if self._pubsub is None:
                await self._connect()
            elif new:
                self._unconfirmed = True  # until it has worked; otherwise the connection is replaced
                async with self._connecting:
                    if self._pubsub is not None:  # else it was closed meanwhile; who connects again subscribes to all
                        await self._pubsub.subscribe(*new)
                self._unconfirmed = False

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Hear no more of some channels, if they are not the last ones.

        Raises:
            BrokerUnavailable: if the broker does not answer; ``messages`` does not subscribe to them again.
        """
        gone = [channel for channel in channels if self._channels.pop(channel, "") is None]
        with self._translated():
            async with self._connecting:
                if self._pubsub is not None and gone:
                    await self._pubsub.unsubscribe(*gone)

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield channel and message; an empty message each time a subscription has taken effect.

        Raises:
            BrokerUnavailable: when the connection breaks; called again, it reconnects and subscribes to all channels.
        """
        pinged = False
        while True:
            try:
                with self._translated():
                    await self._connect()
                    message = await self._pubsub.get_message(timeout=SILENCE_SECONDS)
                    if message is None and not pinged:
                        await self._pubsub.ping()
                if message is None and (pinged or self._unconfirmed):
                    raise BrokerUnavailable(f"the broker at {self._broker.shown} stopped answering")
            except BrokerError:
                await self.close()
                raise
            pinged = message is None
            if message is not None and message["type"] in ("message", "subscribe"):
                data = message["data"] if message["type"] == "message" else b""
                yield message["channel"].decode(), data

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """As the broker's, also what is raised if another task has closed the connection meanwhile."""
        with self._broker.translated():
            try:
                yield
            except (RuntimeError, AttributeError) as error:
                raise redis_errors.ConnectionError("the connection was closed") from error

    async def _connect(self) -> None:
        """Subscribe to all channels, at the server that holds the queue of the first one.

        In a cluster, a message that is published at one node reaches all of them.
        """
        async with self._connecting:
            if self._pubsub is None:
                client = self._broker.connections.reader(await self._broker.server(next(iter(self._channels))))
                pubsub = client.pubsub()
                try:
                    await pubsub.subscribe(*self._channels)
                except BaseException:
                    await self._broker.connections.discard(client)  # each attempt has its own
                    raise
                self._client, self._pubsub, self._unconfirmed = client, pubsub, False

    async def close(self) -> None:
        """Close the connection."""
        pubsub, client, self._pubsub, self._client = self._pubsub, self._client, None, None
        if pubsub is not None:
            with suppress(redis_errors.RedisError, OSError):
                await pubsub.aclose()
        if client is not None:
            await self._broker.connections.discard(client)


class Channels(Generic[K, T]):
    """Channels that are subscribed to as long as something uses them, and for a while longer.

    ``listen`` and ``leave`` only note what ``subscribe`` and ``unsubscribe`` have to do.

    Args:
        broker: Where.
        name: The name of a channel; its users call it by something that is at hand.
    """

    def __init__(self, broker: Broker, name: Callable[[K], str]) -> None:
        self._name = name
        self._users: dict[K, set[T]] = {}  # by channel
        self._idle: dict[K, None] = {}  # without users, the longest idle one first
        self._new: list[K] = []
        self._subscription = Subscription(broker)

    @property
    def too_many(self) -> bool:
        """Whether so many channels are idle that some must be left."""
        return len(self._idle) > IDLE_CHANNELS

    def listen(self, channel: K, user: T) -> bool:
        """Let ``user`` hear of a channel; returns whether that is new, so that it must be subscribed to."""
        users = self._users.get(channel)
        if users is None:
            self._users[channel] = {user}
            self._new.append(channel)
            return True
        if not users:
            self._idle.pop(channel, None)
        users.add(user)
        return False

    def leave(self, channel: K, user: T) -> None:
        """Let ``user`` hear no more of a channel."""
        users = self._users.get(channel, set())
        if user in users:
            users.discard(user)
            if not users:
                self._idle[channel] = None

    def users(self, channel: K) -> Set[T]:
        """Who hears of a channel."""
        return self._users.get(channel, set())

    def forget(self) -> None:
        """Begin anew: whoever listens next, does so to a new channel."""
        self._users, self._idle = {}, {}

    async def subscribe(self) -> None:
        """Subscribe to new channels.

        Raises:
            BrokerUnavailable: if the broker does not answer; ``messages`` subscribes to them as soon as it does.
        """
        while self._new:
            new, self._new = self._new, []
            await self._subscription.subscribe(map(self._name, new))

    async def unsubscribe(self) -> None:
        """Leave the channels that have been idle for longest, until there are not too many.

        Raises:
            BrokerUnavailable: if the broker does not answer; ``messages`` does not subscribe to them again.
        """
        while self.too_many:
            left = list(islice(self._idle, IDLE_CHANNELS // 2))
            for channel in left:
                del self._idle[channel], self._users[channel]
            await self._subscription.unsubscribe(map(self._name, left))

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Subscribe to all channels, and yield what ``Subscription.messages`` does.

        Raises:
            BrokerUnavailable: when the connection breaks; called again, it reconnects.
        """
        await self._subscription.subscribe(map(self._name, list(self._users)))
        async for message in self._subscription.messages():
            yield message

    async def close(self) -> None:
        """Close the connection."""
        await self._subscription.close()
