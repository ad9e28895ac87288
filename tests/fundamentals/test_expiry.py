"""``expires``: a job that is not started in time ends, since its result would come too late."""

import asyncio
import time

import pytest

from taskserver import Client, Inspector, JobExpired, ResultTimeout, State, tool
from tests.conftest import RunWorker


@tool(queue="tools")
async def answer() -> int:
    return 42


async def test_a_job_that_waited_too_long_for_a_free_worker(client: Client, run_worker: RunWorker) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> None:
        begun.set()
        await end.wait()

    async with run_worker(long, answer, concurrency=1):
        await client.submit(long)
        await begun.wait()
        job = await client.submit(answer, expires=0.05, queue="default")
        with pytest.raises(JobExpired):
            await job.result(timeout=60)
        end.set()


async def test_a_delayed_job_expires_too(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(answer):
        job = await client.submit(answer, delay=60, expires=0.05, queue="default")
        with pytest.raises(JobExpired):
            await job.result(timeout=60)
        assert (await job.status()).state is State.EXPIRED


async def test_a_job_that_was_started_in_time(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(answer, queues=("tools",)):
        assert await (await client.submit(answer, expires=60)).result(timeout=60) == 42


async def test_without_any_worker_it_ends_when_somebody_looks(client: Client, broker_url: str) -> None:
    awaited, delayed = await client.submit(answer, expires=0.05), await client.submit(answer, expires=0.05, delay=60)
    followed = await client.submit(answer, expires=0.05, queue="nobody")
    for job in (awaited, delayed):
        with pytest.raises(JobExpired, match="expired before a worker started it"):
            await job.result(timeout=60)
    assert [event async for event in followed.events()] == []
    assert (await followed.status()).state is State.EXPIRED
    seen, listed = [await client.submit(answer, expires=0.001, queue=name) for name in ("one", "two")]
    async with Inspector(broker_url) as inspector:
        while (await seen.status()).state is not State.EXPIRED:
            await asyncio.sleep(0.001)
        while [(job.id, job.state) for job in await inspector.jobs(queue="two")] != [(listed.id, State.EXPIRED)]:
            await asyncio.sleep(0.001)


async def test_it_does_not_end_before_its_time(client: Client) -> None:
    job = await client.submit(answer, expires=600)
    with pytest.raises(ResultTimeout):
        await job.result(timeout=0.05)
    status = await job.status()
    assert status.state is State.QUEUED
    assert status.expires_at == pytest.approx(time.time() + 600, abs=60)
