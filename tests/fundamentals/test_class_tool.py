"""A class with a method ``run`` is a tool: instantiated once per worker, so it can keep a connection or a model."""

from taskserver import Client, tool
from tests.conftest import RunWorker


@tool(name="counter")
class Counter:
    def __init__(self) -> None:
        self.calls = 0

    async def run(self, step: int = 1) -> int:
        self.calls += step
        return self.calls


async def test_a_class_is_instantiated_once_and_run_for_each_job(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(Counter):
        assert await (await client.submit(Counter)).result(timeout=60) == 1
        assert await (await client.submit("counter", {"step": 5})).result(timeout=60) == 6
