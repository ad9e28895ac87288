"""A worker in the event loop of a test, or of a small program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from taskserver.client.client import Client
from taskserver.embedded import EmbeddedBroker
from taskserver.store.broker.opening import open_broker
from taskserver.testing.broker import private_broker, start_private_broker
from taskserver.tools import Toolbox
from taskserver.worker.config import WorkerConfig
from taskserver.worker.worker import Worker


@asynccontextmanager
async def running_worker(*tools: object, url: str | None = None, **config: Any) -> AsyncIterator[Client]:
    """A worker in this process and event loop, for as long as the block; yields a client for its queue.

    ::

        async with running_worker(add) as client:
            assert await (await client.submit(add, {"a": 1, "b": 2})).result() == 3

    Args:
        *tools: Decorated tools, and consumers.
        url: The broker. By default a private one: see ``private_broker``, inside whose block this one is.
        **config: Fields of ``WorkerConfig``. By default, ``queues`` are ``default`` and those that the tools name, and
            on a private broker a tool that the worker was not given fails at once.

    If the worker ends because it cannot continue, the block is cancelled, and the reason is raised in its place.

    Raises:
        BrokerUnavailable: if the private broker cannot be started.
        BrokerUnsuitable, BrokerDenied: if the broker is not suitable, or refuses the user.
        WorkerBroken: if a tool has blocked the event loop past its timeout, or there was no memory left.
    """
    toolbox = Toolbox.of(*tools)
    settings = WorkerConfig(**{**_defaults(toolbox, private=url is None), **config})
    async with AsyncExitStack() as stack:
        if url is None:
            await asyncio.to_thread(start_private_broker)
            url = stack.enter_context(private_broker())
        await stack.enter_async_context(_running(url, toolbox, settings))
        client = Client(url, queue=settings.queues[0], signing_keys=settings.signing_keys)
        yield await stack.enter_async_context(client)


def _defaults(toolbox: Toolbox, *, private: bool) -> dict[str, Any]:
    named = (tool.queue for tool in toolbox.tools.values() if tool.queue is not None)
    queues = {"queues": tuple(dict.fromkeys(("default", *named)))}
    # No other worker will come that has the tool.
    return {**queues, "unknown_tool_wait": 0.0} if private else queues


@asynccontextmanager
async def _running(url: str, toolbox: Toolbox, config: WorkerConfig) -> AsyncIterator[None]:
    async with open_broker(url, EmbeddedBroker.acquire) as broker:
        worker = Worker(broker, toolbox, config)
        running = asyncio.create_task(worker.run())
        try:
            await _ready(worker, running)
            with _ending_with(running):
                yield
        finally:
            worker.stop()
            await running


@contextmanager
def _ending_with(running: asyncio.Task[None]) -> Iterator[None]:
    """Cancel the block if the worker fails, and raise why; as ``asyncio.timeout`` does when the time is over."""
    block = asyncio.current_task()
    assert block is not None  # noqa: S101 - this is called in a coroutine
    before, interrupted = block.cancelling(), False

    def interrupt(ended: asyncio.Task[None]) -> None:
        nonlocal interrupted
        if not ended.cancelled() and ended.exception() is not None:
            interrupted = block.cancel()

    running.add_done_callback(interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if interrupted and block.uncancel() <= before:
            running.result()
        raise
    finally:
        running.remove_done_callback(interrupt)


async def _ready(worker: Worker, running: asyncio.Task[None]) -> None:
    """Wait until the worker takes jobs; if it cannot, raise why."""
    ready = asyncio.create_task(worker.ready.wait())
    await asyncio.wait((ready, running), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if running.done():
        running.result()
