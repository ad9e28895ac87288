"""Connecting an inspector to its broker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Self

from taskserver.config.keys import keyring
from taskserver.embedded import EmbeddedBroker
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.opening import open_broker


class Connection:
    """Opens a broker on first use; see ``Inspector`` for the arguments."""

    def __init__(self, url: str | None = None, *, signing_keys: str | None = None) -> None:
        self._url = url
        self._keyring = keyring(signing_keys)
        self._opened: Broker | None = None
        self._connecting = asyncio.Lock()
        self._stack = AsyncExitStack()

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
        """
        await self._broker()

    async def check(self) -> None:
        """Make sure that the broker answers, accepts the login and holds keys that this version knows; tries once.

        Raises:
            BrokerUnavailable, BrokerDenied, BrokerUnsuitable: if not.
        """
        await (await self._broker()).check_schema()

    async def close(self) -> None:
        """Close every connection; harmless when repeated."""
        self._opened = None
        await self._stack.aclose()

    async def _broker(self) -> Broker:
        async with self._connecting:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(open_broker(self._url, EmbeddedBroker.acquire))
            return self._opened
