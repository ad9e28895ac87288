"""Connecting an inspector to its broker."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Self

from taskserver.config.keys import keyring
from taskserver.domain.names import did_you_mean
from taskserver.domain.partitions import queue_of
from taskserver.embedded import EmbeddedBroker
from taskserver.errors import ConfigError
from taskserver.ownership import OpenOnce
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.opening import open_broker
from taskserver.store.queries import partitions


class Connection:
    """Opens a broker on first use; see ``Inspector`` for the arguments."""

    def __init__(self, url: str | None = None, *, signing_keys: str | None = None) -> None:
        self._url = url
        self._keyring = keyring(signing_keys)
        self._once = OpenOnce("this inspector", self._enter)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Prepare connections to the broker, or start the embedded one; harmless when repeated.

        A broker that is down is noticed on first use, not here.

        Raises:
            ConfigError: if the URL is not valid.
            BrokerUnavailable: if there is no URL and the embedded broker cannot be started.
            ClientUnusable: if it belongs to another event loop or process.
        """
        if self._once.guard.closed:
            self._once = OpenOnce("this inspector", self._enter)
        await self._broker()

    async def check(self) -> None:
        """Make sure that the broker answers, accepts the login and holds keys that this version knows; tries once.

        Raises:
            BrokerUnavailable, BrokerDenied, BrokerUnsuitable: if not.
        """
        await (await self._broker()).check_schema()

    async def close(self) -> None:
        """Close every connection; harmless when repeated. Every later call raises ``ClientUnusable``.

        Raises:
            ClientUnusable: if it belongs to another event loop or process.
        """
        await self._once.close()

    async def _broker(self) -> Broker:
        return await self._once.get()

    async def _enter(self, stack: AsyncExitStack) -> Broker:
        return await stack.enter_async_context(open_broker(self._url, EmbeddedBroker.acquire))

    async def _partitions(self, queue: str, *, single: bool = False) -> list[str]:
        """The partitions of an existing queue; with ``single``, the name of one partition is accepted too.

        Raises:
            ConfigError: if there is none of this name: a pause of one that does not exist would go unnoticed.
        """
        known = await partitions.by_queue(await self._broker())
        if queue in known:
            return known[queue]
        if single and queue in known.get(queue_of(queue), ()):
            return [queue]
        raise ConfigError(f"no queue {queue!r} at this broker{did_you_mean(queue, known)}")

    async def _searched(self, queue: str | None) -> list[str]:
        """The partitions to search: those of one queue, one by its own name, or all; raises as ``_partitions``."""
        if queue is None:
            return await partitions.expand(await self._broker())
        return await self._partitions(queue, single=True)
