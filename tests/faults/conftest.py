"""A network that a test can break: a proxy before the broker, and workers and clients that know only the proxy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taskserver import Client, Toolbox, Worker, WorkerConfig
from taskserver.store import claiming, connection, following
from taskserver.store.connection import Broker
from taskserver.store.scripts import script
from tests.faults.proxy import Proxy

SCRIPTS = ("submit", "claim", "finish", "retry", "report", "renew", "recall", "prepare", "outcomes", "cancel", "requeue",
           "purge", "bury", "promote", "expire", "reclaim", "mend", "tidy", "release", "leave")  # fmt: skip


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    """A proxy before an empty broker that has all scripts, so that each call of one is one request."""
    for name in SCRIPTS:
        await broker.redis.script_load(script(name).text)
    proxy = Proxy(broker.url)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second is long for this product: what would be noticed after five seconds is noticed soon."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(connection, "BLOCK_SECONDS", 0.3)
    monkeypatch.setattr(claiming, "BLOCK_SECONDS", 0.3)
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.3)
