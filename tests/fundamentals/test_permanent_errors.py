"""``PermanentError``: another attempt would not help, so there is none."""

import pytest

from taskserver import Client, JobFailed, PermanentError, State, tool
from tests.conftest import RunWorker


@tool(max_retries=5)
async def refuse() -> None:
    raise PermanentError("this account is closed")


async def test_a_permanent_error_fails_the_job_at_once(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(refuse):
        job = await client.submit(refuse)
        with pytest.raises(JobFailed, match="this account is closed"):
            await job.result(timeout=60)
        status = await job.status()
        assert (status.state, status.attempt) == (State.FAILED, 1)
