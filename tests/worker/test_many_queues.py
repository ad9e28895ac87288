"""Many queues on one worker: they are looked at less often, and nothing that is due waits for a look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskserver import Client, Inspector, State, tool
from taskserver.store.jobs import claim as claiming
from taskserver.worker import fetcher
from taskserver.worker.maintenance import scheduler
from taskserver.worker.pace import FEW, Pace
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire

MANY = 60
NEVER = 100 * PATIENCE


@tool
async def double(number: int) -> int:
    return 2 * number


@pytest.fixture
async def inspector(broker_url: str) -> AsyncIterator[Inspector]:
    async with Inspector(broker_url) as inspector:
        yield inspector


def queues(count: int = MANY) -> tuple[str, ...]:
    return tuple(f"q{number}" for number in range(count))


@pytest.mark.parametrize(("partitions", "pause"), [(1, 3.0), (FEW, 3.0), (10 * FEW, 30.0), (100 * FEW, 300.0)])
def test_background_work_does_not_grow_with_the_number_of_partitions(partitions: int, pause: float) -> None:
    pace = Pace()
    pace.partitions = partitions
    assert pace.pause(3.0) == pause
    assert 0 <= pace.spread(3.0) <= pause - 3.0


async def test_every_queue_of_many_is_served(hire: Hire, client: Client) -> None:
    await hire(double, queues=queues())
    jobs = [await client.submit(double, {"number": number}, queue=queue) for number, queue in enumerate(queues())]
    assert [await job.result(timeout=PATIENCE) for job in jobs] == [2 * number for number in range(MANY)]


async def test_due_times_are_notified(hire: Hire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", NEVER)
    await hire(double, queues=queues(2))
    delayed = await client.submit(double, {"number": 1}, queue="q0", delay=0.2)
    assert await delayed.result(timeout=PATIENCE) == 2


async def test_jobs_that_nobody_looks_at_expire(
    hire: Hire, client: Client, inspector: Inspector, eventually: Eventually
) -> None:
    await (await hire(double, queues=queues(2))).worker.ready.wait()
    await inspector.pause("q0")
    job = await client.submit(double, {"number": 1}, queue="q0", expires=0.2)
    record = (await broker_of(client)).keys("q0").job(job.id.rpartition("-")[2])
    redis = (await broker_of(client)).client((await broker_of(client)).url)

    async def expired() -> bool:
        return bool(await redis.hget(record, "state") == State.EXPIRED.value.encode())

    await eventually(expired)


async def test_a_notification_that_is_lost_costs_no_more_than_the_connection_is_away(
    hire: Hire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", NEVER)
    worker = (await hire(double, queues=queues(2))).worker
    await worker.ready.wait()
    handlers = worker._control._handlers
    channel = (await broker_of(client)).keys("q0").control
    lost = asyncio.Event()
    monkeypatch.setitem(handlers, channel, {**handlers[channel], "due": lambda _: lost.set()})
    job = await client.submit(double, {"number": 1}, queue="q0", delay=0.2)
    await asyncio.wait_for(lost.wait(), PATIENCE)
    redis = (await broker_of(client)).client((await broker_of(client)).url)
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert await job.result(timeout=PATIENCE) == 2


async def test_an_idle_worker_blocks_and_claims_nothing(
    hire: Hire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "BLOCK_SECONDS", 0.01)
    claims, reads = 0, 0
    enough = asyncio.Event()
    claim, read = fetcher.claim, claiming.BlockingReader.read

    async def counted_claim(*args: Any) -> Any:
        nonlocal claims
        claims += 1
        return await claim(*args)

    async def counted_read(reader: claiming.BlockingReader) -> Any:
        nonlocal reads
        reads += 1
        if reads == 10:
            enough.set()
        return await read(reader)

    monkeypatch.setattr(fetcher, "claim", counted_claim)
    monkeypatch.setattr(claiming.BlockingReader, "read", counted_read)
    await hire(double)
    await asyncio.wait_for(enough.wait(), PATIENCE)
    assert claims == 1
    assert await (await client.submit(double, {"number": 1})).result(timeout=PATIENCE) == 2


async def test_an_examination_goes_over_the_servers_keys_once_per_queue(client: Client, inspector: Inspector) -> None:
    broker = await broker_of(client)
    for queue in queues():
        await broker.prepare(queue)
    redis = broker.client(broker.url)
    await redis.config_resetstat()
    found = await inspector.examine()
    named = [finding.subject.removeprefix("queue ") for finding in found if finding.subject.startswith("queue ")]
    assert sorted(set(named)) == sorted(queues())
    scans = (await redis.info("commandstats"))["cmdstat_scan"]["calls"]
    assert scans <= MANY + 5
