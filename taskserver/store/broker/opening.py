"""Opening a broker for the length of an ``async with`` block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from taskserver.config.settings import settings
from taskserver.domain.durability import Durability
from taskserver.store.broker.connection import Broker


class LocalBroker(Protocol):
    """A server on this machine that runs as long as somebody holds it: ``embedded.EmbeddedBroker``."""

    @property
    def url(self) -> str:
        """Its broker URL."""

    def release(self) -> None:
        """Stop holding it."""


def open_broker(
    url: str | None, acquire_local: Callable[[], LocalBroker], *, durability: str | None = None
) -> AbstractAsyncContextManager[Broker]:
    """Open the broker at ``url``, else at ``TASKSERVER_BROKER_URL``, else a local one; it is closed after the block.

    It does not connect before it is used. Its patience is that of the environment.

    Args:
        url: The broker's URL; None if the caller has none.
        acquire_local: Finds or starts the local broker if there is no URL at all: ``EmbeddedBroker.acquire``. It is
            called in a thread. (The store does not import ``embedded``.)
        durability: What a submit has survived; see ``Durability``. By default that of the environment.

    Raises:
        ConfigError: if the URL or the durability is not valid; already by the call, before the block is entered.
        BrokerUnavailable: if the local broker cannot be started.
    """
    known = settings()
    if url is None and known.broker_url is not None:
        url = known.broker_url.get_secret_value()
    wanted = known.durability if durability is None else Durability.parse(durability)
    broker_at = partial(Broker, patience=known.patience, durability=wanted)
    return _opened(None if url is None else broker_at(url), broker_at, acquire_local)


@asynccontextmanager
async def _opened(
    broker: Broker | None, broker_at: Callable[[str], Broker], acquire_local: Callable[[], LocalBroker]
) -> AsyncIterator[Broker]:
    async with AsyncExitStack() as stack:
        if broker is None:
            local = await asyncio.to_thread(acquire_local)
            stack.callback(local.release)
            broker = broker_at(local.url)
        stack.push_async_callback(broker.close)
        yield broker
