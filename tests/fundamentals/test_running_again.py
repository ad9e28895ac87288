"""A job that has ended can be run again, under the same id and with its history."""

import pytest

from taskserver import Client, JobFailed, State, tool
from taskserver.errors import JobConflict
from tests.conftest import RunWorker


async def test_retry_an_ended_job(client: Client, run_worker: RunWorker) -> None:
    repaired = False

    @tool(max_retries=0)
    async def fragile() -> str:
        if not repaired:
            raise OSError("broken")
        return "works"

    async with run_worker(fragile):
        job = await client.submit(fragile)
        with pytest.raises(JobFailed):
            await job.result(timeout=60)
        repaired = True
        await job.retry()
        assert await job.result(timeout=60) == "works"
        status = await job.status()
        assert (status.state, status.attempt) == (State.SUCCEEDED, 1)
        assert [line.event for line in status.history] == ["dead", "requeue"]


async def test_a_job_that_has_not_ended_cannot_be_run_again(client: Client) -> None:
    job = await client.submit("anything")
    with pytest.raises(JobConflict, match="is queued: only a job that has ended can be run again"):
        await job.retry()
