"""A job can be cancelled before it runs, and while it runs."""

import asyncio
import threading

import pytest

from taskserver import Client, Context, JobCancelled, State, tool
from tests.conftest import RunWorker


@pytest.mark.parametrize("delay", [0, 60])
async def test_before_it_runs(client: Client, delay: int) -> None:
    job = await client.submit("anything", delay=delay)
    assert await job.cancel() is State.CANCELLED
    with pytest.raises(JobCancelled):
        await job.result(timeout=60)


async def test_an_async_tool_is_interrupted(client: Client, run_worker: RunWorker) -> None:
    begun = asyncio.Event()

    @tool
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with run_worker(wait):
        job = await client.submit(wait)
        await begun.wait()
        assert await job.cancel() is State.RUNNING  # its worker was asked to stop it
        with pytest.raises(JobCancelled):
            await job.result(timeout=60)


async def test_a_tool_in_a_thread_checks_for_it(client: Client, run_worker: RunWorker) -> None:
    begun, ended, tick = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @tool
    def wait(ctx: Context) -> None:
        loop.call_soon_threadsafe(begun.set)
        while not ctx.cancelled:
            tick.wait(0.01)
        ended.set()

    async with run_worker(wait):
        job = await client.submit(wait)
        await begun.wait()
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=60)
        assert await asyncio.to_thread(ended.wait, 10)
