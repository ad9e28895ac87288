"""Labels by which an agent finds its jobs are part of the jobs."""

from taskserver import Client, Context, tool
from tests.conftest import RunWorker


@tool
async def context(ctx: Context) -> tuple[str | None, tuple[str, ...]]:
    return ctx.session_id, ctx.tags


async def test_the_tool_and_the_status_show_session_and_tags(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(context):
        job = await client.submit(context, session_id="chat 9", tags=["report", "nightly"])
        assert await job.result(timeout=60) == ("chat 9", ("report", "nightly"))
    status = await job.status()
    assert (status.tool, status.session_id, status.tags) == ("context", "chat 9", ["report", "nightly"])
    assert status.submitted_at is not None
    assert status.started_at is not None
    assert status.ended_at is not None
    assert status.worker
