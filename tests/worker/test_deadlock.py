"""A worker says when all its slots are held by jobs that wait for jobs of its own queues."""

from __future__ import annotations

import asyncio
import logging

import pytest

from taskserver import Client, SyncClient, tool
from taskserver.worker import deadlock
from tests.conftest import Eventually, RunWorker

SENTENCE = "slots are held by jobs that wait for jobs of this worker's own queues (default, tools)"
QUEUES = ("default", "tools")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlock, "SUSPECT_SECONDS", 0.05)


@tool
async def inner() -> str:
    return "inner"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if SENTENCE in record.getMessage()]


@pytest.mark.parametrize("way", ["result", "events", "thread"])
async def test_it_is_said_once(
    broker_url: str, run_worker: RunWorker, caplog: pytest.LogCaptureFixture, eventually: Eventually, way: str
) -> None:
    @tool(timeout=None)
    async def outer() -> str:
        async with Client(broker_url) as client:
            job = await client.submit(inner, queue="tools")
            return await job.result() if way == "result" else str([event async for event in job.events()])

    @tool(name="outer", timeout=None)
    def blocking_outer() -> str:
        with SyncClient(broker_url) as client:
            return client.submit(inner).result()

    async def is_said() -> bool:
        return bool(lines(caplog))

    waits = blocking_outer if way == "thread" else outer
    with caplog.at_level(logging.WARNING, "taskserver.worker"):
        async with run_worker(waits, inner, concurrency=2, queues=QUEUES), Client(broker_url) as client:
            jobs = await client.submit_many([(waits, {})] * 4)
            await eventually(is_said)
            async with run_worker(inner, queues=QUEUES, concurrency=1):  # more slots: it is the way out
                await asyncio.gather(*(job.result() for job in jobs))
    (line,) = lines(caplog)
    assert line.startswith("all 2 slots")
    assert "a queue and a worker of their own, or this worker more slots (--concurrency)" in line


async def test_jobs_of_another_queue_or_with_a_free_slot_are_no_reason(
    broker_url: str, run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    async def outer(queue: str) -> str:
        async with Client(broker_url) as client:
            job = await client.submit(inner, queue=queue)
            with pytest.raises(TimeoutError):
                await job.result(timeout=0.2)
            return await job.result() if queue == "tools" else ""

    async with Client(broker_url) as client, run_worker(outer, inner, concurrency=2, queues=QUEUES):
        await (await client.submit(outer, {"queue": "nobody"}, queue="default")).result()
        jobs = await client.submit_many([(outer, {"queue": "nobody"})] * 4)
        await asyncio.gather(*(job.result() for job in jobs))
        async with Client(broker_url) as other:
            assert await (await other.submit(inner)).result() == "inner"
    assert lines(caplog) == []
