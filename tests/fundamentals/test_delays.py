"""A job can be submitted for later: after a delay, or at a given time."""

import time
from datetime import UTC, datetime, timedelta

from taskserver import Client, State, tool
from tests.conftest import RunWorker


@tool
async def now() -> float:
    return time.time()


async def test_delay_and_at(client: Client, run_worker: RunWorker) -> None:
    begin = time.time()
    async with run_worker(now):
        jobs = [
            await client.submit(now, delay=0.3),
            await client.submit(now, delay=timedelta(milliseconds=300)),
            await client.submit(now, at=datetime.now(UTC) + timedelta(seconds=0.3)),
        ]
        status = await jobs[0].status()
        assert status.state is State.DELAYED
        assert status.due_at is not None
        for job in jobs:
            assert await job.result(timeout=60) >= begin + 0.29


async def test_a_time_in_the_past_is_now(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(now):
        assert await (await client.submit(now, at=time.time() - 60)).result(timeout=60)
