"""Opening a broker for the length of an ``async with`` block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from taskserver.config.settings import settings
from taskserver.store.broker.connection import Broker


class LocalBroker(Protocol):
    """A server on this machine that runs as long as somebody holds it: ``embedded.EmbeddedBroker``."""

    @property
    def url(self) -> str:
        """Its broker URL."""

    def release(self) -> None:
        """Stop holding it."""


@asynccontextmanager
async def open_broker(url: str | None, acquire_local: Callable[[], LocalBroker]) -> AsyncIterator[Broker]:
    """Open the broker at ``url``, else at ``TASKSERVER_BROKER_URL``, else a local one; it is closed after the block.

    It does not connect before it is used. Patience and durability are those of the environment.

    Args:
        url: The broker's URL; None if the caller has none.
        acquire_local: Finds or starts the local broker if there is no URL at all: ``EmbeddedBroker.acquire``. It is
            called in a thread. (The store does not import ``embedded``.)

    Raises:
        ConfigError: if the URL is not valid.
        BrokerUnavailable: if the local broker cannot be started.
    """
    known = settings()
    if url is None and known.broker_url is not None:
        url = known.broker_url.get_secret_value()
    async with AsyncExitStack() as stack:
        if url is None:
            local = await asyncio.to_thread(acquire_local)
            stack.callback(local.release)
            url = local.url
        broker = Broker(url, patience=known.patience, durability=known.durability)
        stack.push_async_callback(broker.close)
        yield broker
