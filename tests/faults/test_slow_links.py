"""Slow links: an answer may take longer than the patience with silence, and every job runs in its first attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from taskserver import Client, Context, Toolbox, Worker, WorkerConfig, tool
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import recover
from taskserver.store.scripts import script
from tests.faults.proxy import Fault, Proxy
from tests.patience import PATIENCE

RATE = 1_000_000
SECONDS_PER_ANSWER = 1.5
"""More than twice what hasty connections bear of silence."""


class Sizes:
    """A tool that notes how much it was given, and in which attempt."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

        @tool
        async def measure(blob: str, ctx: Context) -> int:
            self.seen.append((len(blob), ctx.attempt))
            return len(blob)

        self.measure = measure


StartWorker = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def start_worker(proxy: Proxy) -> AsyncIterator[StartWorker]:
    """A worker that has only the proxy's way to the broker."""
    broker = Broker(proxy.url, patience=1.0)
    lives: list[tuple[Worker, asyncio.Task[None]]] = []

    async def start(what: Any, **config: float) -> Worker:
        worker = Worker(broker, Toolbox.of(what), WorkerConfig(**{"lease": 15.0, **config}))  # type: ignore[arg-type]
        lives.append((worker, asyncio.create_task(worker.run())))
        await worker.ready.wait()
        return worker

    yield start
    proxy.heal()
    for worker, life in lives:
        worker.stop()
        await life
    await broker.close()


async def test_jobs_arrive_whose_answers_take_longer_than_the_patience(
    proxy: Proxy, client: Client, hasty: None, start_worker: StartWorker
) -> None:
    sizes, size = Sizes(), int(RATE * SECONDS_PER_ANSWER)
    jobs = await client.submit_many([(sizes.measure, {"blob": "x" * size})] * 3)
    proxy.rate = RATE
    await start_worker(sizes.measure, concurrency=4)
    assert [await job.result(timeout=PATIENCE) for job in jobs] == [size] * 3
    assert sizes.seen == [(size, 1)] * 3


async def test_after_a_lost_answer_jobs_come_back_unspent_and_fewer_are_asked_for(
    proxy: Proxy, client: Client, start_worker: StartWorker
) -> None:
    sizes, size = Sizes(), 100_000
    jobs = await client.submit_many([(sizes.measure, {"blob": "x" * size})] * 6)
    lost = proxy.plan(Fault(script("claim").sha, reply=4 * size))
    worker = await start_worker(sizes.measure, concurrency=6)
    assert [await job.result(timeout=PATIENCE) for job in jobs] == [size] * 6
    assert lost.reply_size > 6 * size
    assert sizes.seen == [(size, 1)] * 6
    fetcher = worker._partitions["default"].fetcher
    assert (fetcher.claims, fetcher.claimed) == (2, 6)  # one job first, then all the others


async def test_a_job_keeps_its_lease_while_it_arrives(
    proxy: Proxy, client: Client, broker: Broker, hasty: None, start_worker: StartWorker
) -> None:
    """Somebody else, near to the broker, looks for leases that are over all the time."""
    sizes, lease = Sizes(), 1.0
    size = int(RATE * 2.5 * lease)
    job = await client.submit(sizes.measure, {"blob": "x" * size})
    proxy.rate = RATE

    async def reclaim() -> None:
        while not sizes.seen:
            await recover.reclaim(broker, "default", "near", round(lease * 1000))
            await asyncio.sleep(0.05)

    reclaiming = asyncio.create_task(reclaim())
    await start_worker(sizes.measure, lease=lease)
    assert await job.result(timeout=PATIENCE) == size
    await reclaiming
    assert sizes.seen == [(size, 1)]
    assert (await job.status()).history == []


async def test_a_job_keeps_its_lease_while_its_result_leaves(
    proxy: Proxy, client: Client, broker: Broker, hasty: None, start_worker: StartWorker
) -> None:
    attempts, lease = list[int](), 1.0
    size = int(RATE * 2.5 * lease)

    @tool
    async def produce(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        proxy.rate = RATE
        return "x" * size

    await start_worker(produce, lease=lease)
    job = await client.submit(produce)

    async def reclaim() -> None:
        while True:
            await recover.reclaim(broker, "default", "near", round(lease * 1000))
            await asyncio.sleep(0.05)

    reclaiming = asyncio.create_task(reclaim())
    assert len(await job.result(timeout=PATIENCE)) == size
    reclaiming.cancel()
    assert attempts == [1]
    assert (await job.status()).history == []
