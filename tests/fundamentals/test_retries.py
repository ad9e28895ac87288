"""An attempt that fails is tried again, until one succeeds."""

from taskserver import Client, Context, tool
from tests.conftest import RunWorker


@tool(max_retries=3, retry_delay=0.01)
async def third_time_lucky(ctx: Context) -> int:
    if ctx.attempt < 3:
        raise ConnectionError(f"attempt {ctx.attempt} of {ctx.max_attempts}")
    return ctx.attempt


async def test_retry_until_success(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(third_time_lucky):
        job = await client.submit(third_time_lucky)
        assert await job.result(timeout=60) == 3
        status = await job.status()
        assert status.attempt == 3
        assert [line.error.message for line in status.history if line.error] == ["attempt 1 of 4", "attempt 2 of 4"]
