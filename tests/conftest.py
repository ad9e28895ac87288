"""Fixtures that every test may use: a broker of each kind at hand, a client, workers, and a check for leaked keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from taskserver import Client, Toolbox, Worker, WorkerConfig
from taskserver.store.broker.connection import Broker
from tests.brokers import Server, kinds
from tests.patience import PATIENCE

LONGEST = ("test_soak.py", "test_sentinel.py", "test_durability.py", "faults", "acceptance", "fleet", "worker")
"""Files and folders whose tests take long, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first, so that the processes of a parallel run end together."""

    def rank(item: pytest.Item) -> int:
        return next((rank for rank, name in enumerate(LONGEST) if name in item.path.parts), len(LONGEST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """Servers started so far by this pytest process, by kind."""
    started: dict[str, Server] = {}
    yield started
    for server in started.values():
        server.close()


@pytest.fixture(params=sorted(kinds()))
def broker_url(request: pytest.FixtureRequest, servers: dict[str, Server]) -> str:
    """URL of an empty broker; the test runs once for each kind at hand."""
    where = kinds()[request.param]
    if "://" not in where:
        if request.param not in servers:
            servers[request.param] = Server(where).start()
        where = servers[request.param].url
    with redis.Redis.from_url(where) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return where


@pytest.fixture
def one_broker_url(servers: dict[str, Server]) -> str:
    """URL of an empty broker of one kind: for tests of what does not depend on the server."""
    kind = max(kinds())
    if kind not in servers:
        servers[kind] = Server(kinds()[kind]).start()
    with redis.Redis.from_url(servers[kind].url) as client:
        client.flushall()
    return servers[kind].url


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator[Broker]:
    """The store's way to an empty broker."""
    broker = Broker(broker_url, patience=1.0)
    yield broker
    await broker.close()


@pytest.fixture
async def client(broker_url: str) -> AsyncIterator[Client]:
    """A client of an empty broker."""
    async with Client(broker_url) as client:
        yield client


RunWorker = Callable[..., "asynccontextmanager[Worker]"]


@pytest.fixture
def run_worker(broker_url: str) -> RunWorker:
    """``async with run_worker(tool, …, concurrency=4) as worker``: a worker in this process, as long as the block."""

    @asynccontextmanager
    async def run(*tools: object, **config: object) -> AsyncIterator[Worker]:
        broker = Broker(broker_url, patience=1.0)
        options = {"concurrency": 4, "grace_period": 5.0, "lease": 10.0, **config}
        worker = Worker(broker, Toolbox.of(*tools), WorkerConfig(**options))  # type: ignore[arg-type]
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running
            await broker.close()

    return run


Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """``await eventually(condition)``: for what the broker gives no signal of; asks again until it is true."""

    async def wait(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.01)

    return wait
