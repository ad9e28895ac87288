"""The client for scripts and notebooks: the same calls, without ``await``."""

import asyncio

from taskserver import BaseConsumer, BaseMessage, Context, State, SyncClient, tool
from tests.conftest import RunWorker


@tool
async def count(limit: int, ctx: Context) -> int:
    for number in range(limit):
        await ctx.emit(str(number))
    return limit


class Ping(BaseMessage):
    text: str


class PingConsumer(BaseConsumer[Ping]):
    async def process(self, message: Ping, ctx: Context) -> str:
        return message.text


def _script(url: str) -> None:
    with SyncClient(url) as client:
        job = client.submit(count, {"limit": 3})
        assert [event.text for event in job.events()] == ["0", "1", "2"]
        assert job.result(timeout=60) == 3
        assert client.job(job.id).status().state is State.SUCCEEDED
        jobs = client.submit_many([(count, {"limit": 1}), ("count", {"limit": 2})])
        assert [job.result(timeout=60) for job in jobs] == [1, 2]
        assert client.send(Ping(text="pong")).result(timeout=60) == "pong"
        assert client.submit(count, {"limit": 1}, delay=60).cancel() is State.CANCELLED
    client.close()  # harmless


async def test_a_script(broker_url: str, run_worker: RunWorker) -> None:
    async with run_worker(count, PingConsumer):
        await asyncio.to_thread(_script, broker_url)


async def test_it_works_inside_a_running_loop_as_in_a_notebook(broker_url: str) -> None:
    with SyncClient(broker_url) as client:
        assert client.submit("anything").status().state is State.QUEUED
