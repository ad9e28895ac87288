"""The same key is the same job, however often and wherever it is submitted."""

import asyncio

from taskserver import Client, Context, tool
from tests.conftest import RunWorker


async def test_one_key_one_job(client: Client, broker_url: str, run_worker: RunWorker) -> None:
    seen: list[str] = []

    @tool
    async def pay(ctx: Context) -> int:
        seen.append(ctx.idempotency_key)
        return len(seen)

    async with Client(broker_url) as other:
        jobs = await asyncio.gather(
            *(each.submit(pay, idempotency_key="invoice 7") for each in (client, other) for _ in range(5))
        )
        assert len({job.id for job in jobs}) == 1
        async with run_worker(pay):
            assert [await job.result(timeout=60) for job in jobs] == [1] * 10
            again = await other.submit(pay, idempotency_key="invoice 7")  # after it has ended, too
            assert await again.result(timeout=60) == 1
    assert seen == ["invoice 7"]


async def test_without_a_key_the_jobs_id_is_used(client: Client, run_worker: RunWorker) -> None:
    @tool
    async def which(ctx: Context) -> str:
        return ctx.idempotency_key

    async with run_worker(which):
        job = await client.submit(which)
        assert await job.result(timeout=60) == job.id
