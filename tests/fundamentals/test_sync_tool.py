"""A plain function is a tool too: it runs in a thread, and does not block the worker."""

import threading

from taskserver import Client, Context, tool
from tests.conftest import RunWorker


@tool
def where(ctx: Context) -> str:
    ctx.progress(0.5, "looking")  # nothing to await in a thread
    return threading.current_thread().name


async def test_a_sync_tool_runs_in_a_thread_of_its_own(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(where):
        job = await client.submit(where)
        assert await job.result(timeout=60) == f"tool {job.id}"
        assert (await job.status()).progress == 0.5
