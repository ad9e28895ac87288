"""A job whose attempts are used up is a dead letter: kept with its error, history and arguments."""

import pytest

from taskserver import Client, JobFailed, State, tool
from taskserver.store.queries.search import JobFilter, dead_letters
from tests.clients import broker_of
from tests.conftest import RunWorker


@tool(max_retries=1, retry_delay=0.01)
async def hopeless(url: str) -> None:
    raise ConnectionError(f"cannot reach {url}")


async def test_attempts_used_up(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(hopeless):
        job = await client.submit(hopeless, {"url": "nowhere"})
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=60)
    assert caught.value.error_type == "ConnectionError"
    assert caught.value.error_message == "cannot reach nowhere"
    assert "raise ConnectionError" in caught.value.traceback
    status = await job.status()
    assert status.state is State.DEAD
    assert [(line.attempt, line.event) for line in status.history] == [(1, "retry"), (2, "dead")]
    assert status.arguments == {"url": "nowhere"}
    letters = dead_letters(await broker_of(client), ["default"], JobFilter())
    assert [letter.id async for letter in letters] == [job.id]
