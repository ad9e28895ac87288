"""Two hundred clients and workers lose the broker together: they do not hammer it, and all of them come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskserver import Client, Toolbox, Worker, WorkerConfig, tool
from taskserver.client.client import Job
from taskserver.store.broker.connection import Broker
from tests.conftest import Eventually
from tests.faults.proxy import Proxy
from tests.patience import PATIENCE

CLIENTS, WORKERS = 180, 20
OUTAGE_SECONDS = 2


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    return one_broker_url


@tool
async def late() -> str:
    return "done"


class Crowd:
    """Clients that each wait for a job, and workers that wait for its time."""

    def __init__(self, url: str) -> None:
        self._clients = [Client(url) for _ in range(CLIENTS)]
        self._brokers = [Broker(url) for _ in range(WORKERS)]
        self._workers = [Worker(broker, Toolbox.of(late), WorkerConfig()) for broker in self._brokers]
        self._lives: list[asyncio.Task[None]] = []
        self.jobs: list[Job[str]] = []
        self.results: list[asyncio.Task[str]] = []

    async def gather(self) -> None:
        self.jobs = await asyncio.gather(*(client.submit(late, delay=3600) for client in self._clients))
        self.results = [asyncio.create_task(job.result()) for job in self.jobs]
        self._lives = [asyncio.create_task(worker.run()) for worker in self._workers]
        await asyncio.gather(*(worker.ready.wait() for worker in self._workers))

    async def leave(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients))
        for worker in self._workers:
            worker.stop()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await asyncio.gather(*(broker.close() for broker in self._brokers))


@pytest.fixture
async def crowd(proxy: Proxy) -> AsyncIterator[Crowd]:
    crowd = Crowd(proxy.url)
    yield crowd
    await crowd.leave()


async def test_two_hundred_lose_the_broker_together(
    proxy: Proxy, crowd: Crowd, broker: Broker, eventually: Eventually
) -> None:
    async def all_listen() -> bool:
        return len(proxy.those("SUBSCRIBE")) == CLIENTS + WORKERS

    await crowd.gather()
    await eventually(all_listen, 4 * PATIENCE)  # each of the two hundred must have its turn
    before = len(proxy.links)

    proxy.rejecting = True
    proxy.cut()
    proxy.attempts.clear()

    async def some_seconds_are_over() -> bool:
        return bool(proxy.attempts) and proxy.attempts[-1] - proxy.attempts[0] > OUTAGE_SECONDS

    await eventually(some_seconds_are_over)
    seconds = proxy.attempts[-1] - proxy.attempts[0]
    # A client tries for its notifications and its jobs, each about once a second; a worker has more loops.
    assert len(proxy.attempts) < seconds * (CLIENTS * 4 + WORKERS * 12)

    proxy.rejecting = False
    await eventually(all_listen, 4 * PATIENCE)  # each of the two hundred must have its turn
    assert len(proxy.links) <= before + CLIENTS
    for job in crowd.jobs:
        assert (await job.cancel()).ended
    ended = await asyncio.gather(*crowd.results, return_exceptions=True)
    assert {type(error).__name__ for error in ended} == {"JobCancelled"}
