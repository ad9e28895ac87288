"""Many calls at once, in few round trips; the handles are returned in order."""

from taskserver import Client, tool
from tests.conftest import RunWorker


@tool
async def double(number: int) -> int:
    return 2 * number


@tool
async def greet(name: str) -> str:
    return f"hello {name}"


async def test_submit_many(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(double, greet):
        jobs = await client.submit_many([(double, {"number": 1}), ("greet", {"name": "Ada"}), (double, {"number": 3})])
        assert [await job.result(timeout=60) for job in jobs] == [2, "hello Ada", 6]


async def test_a_key_covers_them_all(client: Client) -> None:
    calls = [(double, {"number": number}) for number in range(5)]
    first = await client.submit_many(calls, idempotency_key="batch")
    again = await client.submit_many(calls, idempotency_key="batch")
    assert [job.id for job in first] == [job.id for job in again]
    assert len({job.id for job in first}) == 5
