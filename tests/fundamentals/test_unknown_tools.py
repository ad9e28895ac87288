"""A job waits for a worker that knows its tool, so a new tool can be deployed in any order."""

import pytest

from taskserver import Client, JobFailed, State, tool
from tests.conftest import Eventually, RunWorker


@tool
async def old() -> None: ...


@tool
async def new() -> str:
    return "new"


async def test_it_waits_for_a_worker_that_knows_it(
    client: Client, run_worker: RunWorker, eventually: Eventually
) -> None:
    job = await client.submit(new)

    async def put_aside() -> bool:
        return (await job.status()).state is State.DELAYED

    async with run_worker(old):
        await eventually(put_aside)
    async with run_worker(new):
        assert await job.result(timeout=60) == "new"
    assert (await job.status()).attempt == 1


async def test_but_not_for_ever(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(old, unknown_tool_wait=0.2):
        job = await client.submit(new)
        with pytest.raises(JobFailed, match="unknown tool 'new'"):
            await job.result(timeout=60)
        assert (await job.status()).state is State.DEAD
