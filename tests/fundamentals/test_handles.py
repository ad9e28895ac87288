"""A job's id is enough to find it: from another process, at any time."""

import pytest

from taskserver import Client, JobNotFound, ResultTimeout, State, tool
from tests.conftest import RunWorker


@tool
async def answer() -> int:
    return 42


async def test_the_result_by_id_from_another_client(client: Client, broker_url: str, run_worker: RunWorker) -> None:
    job = await client.submit(answer)
    async with Client(broker_url) as other:
        same = other.job(job.id)
        assert (await same.status()).state is State.QUEUED
        async with run_worker(answer):
            assert await same.result(timeout=60) == 42


async def test_a_result_that_does_not_arrive_in_time(client: Client) -> None:
    job = await client.submit("anything")
    with pytest.raises(ResultTimeout, match="it keeps running") as caught:
        await job.result(timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert (await job.status()).state is State.QUEUED


async def test_an_unknown_job(client: Client) -> None:
    job = client.job("default-" + "0" * 24)
    for asking in (job.status(), job.result(timeout=60), job.cancel(), job.retry()):
        with pytest.raises(JobNotFound, match="the id is unknown, or its record has expired"):
            await asking
