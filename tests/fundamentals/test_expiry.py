"""``expires``: a job that is not started in time ends, since its result would come too late."""

import asyncio

import pytest

from taskserver import Client, JobExpired, State, tool
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
