"""Jobs through the inspector: found, looked at, cancelled and run again."""

import pytest

from taskserver import Client, ConfigError, Context, Inspector, JobNotFound, State, tool
from taskserver.errors import JobConflict
from tests.conftest import RunWorker
from tests.patience import PATIENCE

UNKNOWN = "default-01jd3kq8r0m4vv9tq2h5n7c1"


async def test_jobs_are_found_by_what_they_are(inspector: Inspector, client: Client) -> None:
    first = await client.submit("summarize", session_id="s1", tags=["red"])
    second = await client.submit("summarize", queue="mail", delay=60)
    assert [job.id for job in await inspector.jobs()] == [second.id, first.id]
    for filters in ({"state": "queued"}, {"queue": "default"}, {"session_id": "s1"}, {"tag": "red"}):
        assert [job.id for job in await inspector.jobs(**filters)] == [first.id]  # type: ignore[arg-type]
    assert len(await inspector.jobs(tool="summarize", limit=1)) == 1
    assert await inspector.jobs(tool="convert") == []


async def test_a_filter_that_cannot_match_is_refused(inspector: Inspector) -> None:
    with pytest.raises(ConfigError, match="'queud' is not a job state; did you mean 'queued'"):
        await inspector.jobs(state="queud")
    with pytest.raises(ConfigError, match="'done' is not a job state: use one of queued, delayed, running, "):
        await inspector.jobs(state="done")
    for limit in (0, -1, "5"):
        with pytest.raises(ConfigError, match=f"limit must be at least 1, not {limit!r}"):
            await inspector.jobs(limit=limit)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=f"limit must be at least 1, not {limit!r}"):
            await anext(inspector.dead_letters(limit=limit))  # type: ignore[arg-type]


async def test_one_job_and_its_events(inspector: Inspector, client: Client, run_worker: RunWorker) -> None:
    @tool
    async def greet(name: str, ctx: Context) -> None:
        await ctx.emit("hello ")
        await ctx.emit(name)

    async with run_worker(greet):
        job = await client.submit(greet, {"name": "Ada"})
        await job.result(timeout=PATIENCE)
    status = await inspector.job(job.id)
    assert (status.state, status.tool) == (State.SUCCEEDED, "greet")
    first, *others = await inspector.events(job.id)
    assert "".join(event.text for event in (first, *others)) == "hello Ada"
    assert await inspector.events(job.id, after=first.cursor) == others
    with pytest.raises(JobNotFound):
        await inspector.job(UNKNOWN)
    with pytest.raises(ConfigError):
        await inspector.job("not an id")


async def test_cancel_and_retry(inspector: Inspector, client: Client) -> None:
    job = await client.submit("anything")
    with pytest.raises(JobConflict, match="only a job that has ended"):
        await inspector.retry(job.id)
    assert await inspector.cancel(job.id) is State.CANCELLED
    await inspector.retry(job.id)
    assert (await job.status()).state is State.QUEUED
    with pytest.raises(JobNotFound):
        await inspector.cancel(UNKNOWN)
