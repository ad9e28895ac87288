"""What happens by the broker's clock: delayed jobs come back on time, and jobs not started in time end."""

from __future__ import annotations

from typing import Any

import pytest

from taskserver.domain.job import State
from taskserver.store.jobs import recover
from taskserver.store.jobs.recover import BATCH
from tests.store.harness import LONG_MS, QUEUE, Held, Queue


async def test_a_delayed_job_comes_back_into_its_lane_when_it_is_due(queue: Queue, eventually: Any) -> None:
    key = await queue.submit(delay_ms=1, lane="low")

    async def promoted() -> bool:
        return await queue.promote() == 1

    await eventually(promoted)
    assert await queue.state(key) is State.QUEUED
    assert (await queue.entry(key))[0] == "low"
    assert (await queue.status(key)).due_at is None
    assert len(await queue.claim()) == 1


async def test_none_comes_early_and_the_scheduler_hears_when_to_look_again(queue: Queue) -> None:
    assert await recover.promote(queue.broker, QUEUE) == (0, None)
    await queue.submit(delay_ms=2 * LONG_MS)
    await queue.submit(delay_ms=LONG_MS)
    moved, next_ms = await recover.promote(queue.broker, QUEUE)
    assert moved == 0
    assert next_ms == pytest.approx(LONG_MS, abs=2_000)


async def test_more_are_due_than_one_call_moves(queue: Queue) -> None:
    keys = [await queue.submit(delay_ms=LONG_MS) for _ in range(BATCH + 1)]
    for key in keys:
        await queue.ripen(key)
    assert await recover.promote(queue.broker, QUEUE) == (BATCH, 0)
    assert await recover.promote(queue.broker, QUEUE) == (1, None)
    assert len(await queue.claim(slots=len(keys))) == len(keys)


async def test_two_schedulers_promote_a_job_once(queue: Queue) -> None:
    key = await queue.submit(delay_ms=LONG_MS)
    await queue.ripen(key)
    assert (await queue.promote(), await queue.promote()) == (1, 0)
    assert await queue.entries() == 1


@pytest.mark.parametrize("key", ["unknown", "x" * 10_000, b"\xff\x00"])
async def test_a_forged_time_of_no_job_is_forgotten(queue: Queue, key: Any) -> None:
    await queue.redis.zadd(queue.keys.delayed, {key: 1})
    await queue.redis.zadd(queue.keys.expiring, {key: 1})
    await queue.promote()
    await queue.expire()
    assert await queue.redis.exists(queue.keys.delayed, queue.keys.expiring) == 0
    assert await queue.entries() == 0


async def expiring(queue: Queue, state: str) -> Held:
    if state == "waiting":
        job = await queue.running()
        await queue.wait(job, limit_ms=LONG_MS)
        return Held(job.key, job.fence)
    return Held(await queue.submit(expires_ms=LONG_MS, delay_ms=LONG_MS * (state == "delayed")), 0)


@pytest.mark.parametrize("state", ["queued", "delayed", "waiting"])
async def test_a_job_ends_when_its_time_to_start_is_over(queue: Queue, state: str) -> None:
    job = await expiring(queue, state)
    assert await queue.state(job.key) is State(state)
    assert await queue.expire() == 0
    await queue.outdate(job.key)
    assert await queue.expire() == 1
    assert await queue.state(job.key) is State.EXPIRED
    assert await queue.claim() == []
    assert await queue.redis.exists(queue.keys.delayed, queue.keys.expiring) == 0
    assert await queue.entries() == 0


async def test_the_scheduler_hears_when_the_next_job_expires(queue: Queue) -> None:
    await queue.submit(expires_ms=LONG_MS)
    moved, next_ms = await recover.expire(queue.broker, QUEUE)
    assert moved == 0
    assert next_ms == pytest.approx(LONG_MS, abs=2_000)


async def test_a_job_that_started_in_time_does_not_expire(queue: Queue) -> None:
    job = await queue.running(expires_ms=LONG_MS)
    assert await recover.expire(queue.broker, QUEUE) == (0, None)
    assert await queue.state(job.key) is State.RUNNING


async def test_whoever_sees_an_overdue_job_ends_it_though_it_is_missing_from_the_set_of_times(queue: Queue) -> None:
    awaited, seen = [await queue.submit(expires_ms=LONG_MS) for _ in range(2)]
    for key in (awaited, seen):
        await queue.redis.hset(queue.keys.job(key), "expires", 1)
    await queue.redis.delete(queue.keys.expiring)
    assert (await queue.outcome(awaited)).state is State.EXPIRED
    assert (await queue.status(seen)).state is State.EXPIRED
    assert await queue.entries() == 0


async def test_a_job_that_is_seen_to_be_overdue_by_mistake_does_not_end(queue: Queue) -> None:
    running, later = await queue.running(expires_ms=LONG_MS), await queue.submit(expires_ms=LONG_MS)
    await queue.redis.hset(queue.keys.job(running.key), "expires", 1)
    await queue.broker.run("expire", QUEUE, 1, "unknown", running.key, later)
    assert await queue.state(running.key) is State.RUNNING
    assert await queue.state(later) is State.QUEUED
