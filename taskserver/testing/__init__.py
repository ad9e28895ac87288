"""Helpers for the tests of programs that use taskserver, and for programs small enough to hold their own worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskserver.embedded import EmbeddedBroker
from taskserver.store.broker.opening import open_broker
from taskserver.tools import Toolbox
from taskserver.worker.config import WorkerConfig
from taskserver.worker.worker import Worker

__all__ = ["running_worker"]


@asynccontextmanager
async def running_worker(*tools: object, url: str | None = None, **config: Any) -> AsyncIterator[Worker]:
    """A worker in this process and event loop, for as long as the block.

    ::

        async with running_worker(add), Client() as client:
            assert await (await client.submit(add, {"a": 1, "b": 2})).result() == 3

    Args:
        *tools: Decorated tools, and consumers.
        url: The broker; else ``TASKSERVER_BROKER_URL``; else the embedded one.
        **config: Fields of ``WorkerConfig``.

    Raises:
        BrokerUnsuitable, BrokerDenied: if the broker is not suitable, or refuses the user.
    """
    async with open_broker(url, EmbeddedBroker.acquire) as broker:
        worker = Worker(broker, Toolbox.of(*tools), WorkerConfig(**config))
        running = asyncio.create_task(worker.run())
        try:
            await _ready(worker, running)
            yield worker
        finally:
            worker.stop()
            await running


async def _ready(worker: Worker, running: asyncio.Task[None]) -> None:
    """Wait until the worker takes jobs; if it cannot, raise why."""
    ready = asyncio.create_task(worker.ready.wait())
    await asyncio.wait((ready, running), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if running.done():
        running.result()
