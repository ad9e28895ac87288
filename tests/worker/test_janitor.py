"""A worker finds jobs that nothing would wake any more."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from taskserver import Client, tool
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.broker.connection import Broker
from taskserver.store.maintenance.audit import Turn, take_turn
from taskserver.store.queries import queues
from taskserver.worker.maintenance import janitor
from tests.conftest import Eventually, RunWorker
from tests.patience import PATIENCE


@tool
async def double(number: int) -> int:
    return 2 * number


async def test_jobs_of_deleted_streams_run_when_a_worker_starts(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    jobs = await client.submit_many([(double, {"number": number}) for number in range(20)])
    jobs.append(await client.submit(double, {"number": 20}, delay=0.01))
    keys = broker.keys("default")
    await broker.client(broker.url).delete(*(keys.lane(lane) for lane in (RETURNED, *LANES)), keys.delayed)
    async with run_worker(double):
        assert [await job.result(timeout=PATIENCE) for job in jobs] == [2 * number for number in range(21)]


async def test_jobs_run_when_their_streams_are_deleted_under_a_worker(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    keys = broker.keys("default")
    async with run_worker(double):
        assert await (await client.submit(double, {"number": 1})).result(timeout=PATIENCE) == 2
        await broker.client(broker.url).hset(keys.meta, "paused", "1")
        job = await client.submit(double, {"number": 2})
        await broker.client(broker.url).delete(*(keys.lane(lane) for lane in (RETURNED, *LANES)))
        await broker.client(broker.url).hdel(keys.meta, "paused")
        assert await job.result(timeout=PATIENCE) == 4


async def test_groups_that_are_lost_under_many_workers_are_looked_into_by_one(
    client: Client, broker: Broker, run_worker: RunWorker, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[tuple[str, Turn]] = []
    begin = janitor.take_turn

    async def recorded(broker: Broker, queue: str, worker: str, hold_ms: int) -> Turn:
        turns.append((worker, await begin(broker, queue, worker, hold_ms)))
        return turns[-1][1]

    monkeypatch.setattr(janitor, "take_turn", recorded)
    keys, server = broker.keys("default"), broker.client(broker.url)

    async def was_looked_at() -> bool:
        return bool(await server.hexists(keys.meta, "looked"))

    async def all_know() -> bool:
        return len({worker for worker, _ in turns[before:]}) == 5

    async with AsyncExitStack() as workers:
        for _ in range(5):
            await workers.enter_async_context(run_worker(double))
        await eventually(was_looked_at)
        before = len(turns)
        await server.delete(*(keys.lane(lane) for lane in (RETURNED, *LANES)))
        await eventually(all_know)
        assert [turn for _, turn in turns[before:]].count(Turn.URGENT) == 1


async def test_a_janitor_that_died_in_its_round_is_followed_soon(
    client: Client, broker: Broker, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "LOOK_SECONDS", 0.05, raising=False)
    job = await client.submit(double, {"number": 1})
    keys, server = broker.keys("default"), broker.client(broker.url)
    await server.xtrim(keys.lane("normal"), maxlen=0)
    assert await take_turn(broker, "default", "one that dies", 300)
    async with run_worker(double):
        assert await job.result(timeout=PATIENCE) == 2


async def test_while_it_goes_around_it_is_the_janitor_only_for_a_moment(
    client: Client, broker: Broker, run_worker: RunWorker, eventually: Eventually
) -> None:
    await client.submit(double, {"number": 1}, delay=3600)
    keys, server = broker.keys("default"), broker.client(broker.url)
    seen: list[int] = []

    async def between_two_rounds() -> bool:
        seen.append(await server.pttl(keys.janitor))
        return seen[-1] > janitor.HOLD_SECONDS * 1000

    async with run_worker(double):
        await eventually(between_two_rounds)
    assert any(0 < milliseconds <= janitor.HOLD_SECONDS * 1000 for milliseconds in seen)


async def test_what_is_left_of_a_deleted_record_gets_an_end(
    client: Client, broker: Broker, run_worker: RunWorker, eventually: Eventually
) -> None:
    job = await client.submit("anything", delay=3600)
    keys, server = broker.keys("default"), broker.client(broker.url)
    key = job.id.removeprefix("default-")
    await server.delete(keys.job(key))

    async def repaired() -> bool:
        return await server.ttl(keys.message(key)) > 0 and not await server.exists(keys.delayed)

    async with run_worker(double):
        await eventually(repaired)


async def test_queues_that_nobody_uses_are_forgotten_by_workers_of_others(
    client: Client, broker: Broker, run_worker: RunWorker, eventually: Eventually
) -> None:
    server = broker.client(broker.url)
    for queue in ("old", "new"):
        await broker.prepare(queue)
    lane = broker.keys("old").lane("normal")
    await server.xadd(lane, {"job": "x"}, id="1-1")  # in 1970
    await server.xdel(lane, "1-1")

    async def forgotten() -> bool:
        return await queues.names(broker) == ["default", "new"]

    async with run_worker(double):
        await eventually(forgotten)
        assert not await server.exists(lane)
        assert await (await client.submit(double, {"number": 1})).result(timeout=PATIENCE) == 2
