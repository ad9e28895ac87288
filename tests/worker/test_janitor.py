"""A worker finds jobs that nothing would wake any more."""

from __future__ import annotations

from taskserver import Client, tool
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.connection import Broker
from tests.conftest import RunWorker


@tool
async def double(number: int) -> int:
    return 2 * number


async def test_jobs_of_deleted_streams_run_when_a_worker_starts(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    jobs = await client.submit_many([(double, {"number": number}) for number in range(20)])
    jobs.append(await client.submit(double, {"number": 20}, delay=0.01))
    keys = broker.keys("default")
    await broker.client(broker.url).delete(*(keys.lane(lane) for lane in (RETURNED, *LANES)), keys.delayed)
    async with run_worker(double):
        assert [await job.result(timeout=20) for job in jobs] == [2 * number for number in range(21)]


async def test_jobs_run_when_their_streams_are_deleted_under_a_worker(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    keys = broker.keys("default")
    async with run_worker(double):
        assert await (await client.submit(double, {"number": 1})).result(timeout=20) == 2
        await broker.client(broker.url).hset(keys.meta, "paused", "1")
        job = await client.submit(double, {"number": 2})
        await broker.client(broker.url).delete(*(keys.lane(lane) for lane in (RETURNED, *LANES)))
        await broker.client(broker.url).hdel(keys.meta, "paused")
        assert await job.result(timeout=20) == 4
