"""One client waits for any number of jobs over a handful of connections."""

import asyncio

from taskserver import Client, tool
from tests.clients import broker_of
from tests.conftest import RunWorker

JOBS = 2_000


@tool
async def double(number: int) -> int:
    return 2 * number


async def test_gather(client: Client, run_worker: RunWorker) -> None:
    jobs = await client.submit_many((double, {"number": number}) for number in range(JOBS))
    results = asyncio.gather(*(job.result(timeout=60) for job in jobs))
    broker = await broker_of(client)
    async with run_worker(double, concurrency=100):
        assert await results == [2 * number for number in range(JOBS)]
        assert len(await broker.client(broker.url).client_list()) < 25  # the worker's are among them


async def test_as_completed(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(double):
        jobs = await client.submit_many((double, {"number": number}) for number in range(20))
        results = [await result for result in asyncio.as_completed([job.result(timeout=60) for job in jobs])]
        assert sorted(results) == list(range(0, 40, 2))
