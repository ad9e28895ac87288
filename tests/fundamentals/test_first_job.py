"""An agent submits a tool call, a worker runs it, and the result comes back."""

from taskserver import Client, State, tool
from tests.conftest import RunWorker


@tool
async def add(a: int, b: int) -> int:
    return a + b


async def test_a_tool_call_runs_on_a_worker_and_its_result_comes_back(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(add):
        job = await client.submit(add, {"a": 1, "b": 2})
        assert await job.result(timeout=60) == 3
        assert (await job.status()).state is State.SUCCEEDED
