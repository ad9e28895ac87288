"""The time for an attempt is limited by the tool or the submitter."""

import asyncio

import pytest

from taskserver import Client, JobFailed, State, tool
from tests.conftest import RunWorker


@tool(timeout=60, max_retries=0)
async def forever() -> None:
    await asyncio.Event().wait()


async def test_an_attempt_that_takes_too_long_fails(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(forever):
        job = await client.submit(forever, timeout=0.1)
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=60)
        assert caught.value.error_type == "TimeoutError"
        assert caught.value.error_message == "the attempt took longer than its timeout of 0.1 s"
        assert (await job.status()).state is State.DEAD
