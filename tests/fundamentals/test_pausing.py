"""A paused queue accepts jobs but starts none; running jobs continue. After ``resume`` it starts jobs at once."""

import asyncio

from taskserver import Client, State, tool
from taskserver.store.jobs import admin
from tests.clients import broker_of
from tests.conftest import RunWorker


async def test_pause_and_resume(client: Client, run_worker: RunWorker) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> str:
        begun.set()
        await end.wait()
        return "went on"

    @tool
    async def short() -> str:
        return "done"

    broker = await broker_of(client)
    async with run_worker(long, short):
        running = await client.submit(long)
        await begun.wait()
        await admin.pause(broker, "default")
        waiting = await client.submit(short)
        end.set()
        assert await running.result(timeout=60) == "went on"
        assert (await waiting.status()).state is State.QUEUED
        await admin.resume(broker, "default")
        assert await waiting.result(timeout=60) == "done"
