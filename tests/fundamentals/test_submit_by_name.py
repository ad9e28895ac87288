"""A submitter does not need the tool's code: its name is enough."""

import pytest

from taskserver import ArgumentsInvalid, Client, JobFailed, State, tool
from tests.conftest import RunWorker


@tool
async def add(a: int, b: int = 10) -> int:
    return a + b


async def test_by_name(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(add):
        assert await (await client.submit("add", {"a": 1})).result(timeout=60) == 11


async def test_wrong_arguments_by_name_fail_the_job_without_another_attempt(
    client: Client, run_worker: RunWorker
) -> None:
    async with run_worker(add):
        job = await client.submit("add", {"a": "one"})
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=60)
        assert caught.value.error_type == "ArgumentsInvalid"
        assert (await job.status()).state is State.FAILED


async def test_wrong_arguments_by_function_are_refused_where_they_are_submitted(client: Client) -> None:
    with pytest.raises(ArgumentsInvalid):
        await client.submit(add, {"a": "one"})
