"""Somebody has written into jobs' records by hand: the others go on, and so does the job if it can."""

from __future__ import annotations

import pytest

from taskserver.domain.job import State
from taskserver.store.queries import jobs as job_queries
from tests.store.harness import (
    LONG_MS,
    QUEUE,
    Queue,
    fail,
    release,
    says,
    succeed,
)
from tests.store.test_repair_jobs import audit_stranded

NO_NUMBERS = [b"", b"x", b"-1", b"nan", b"1e300", b"1.5e3000", b"99999999999999999999", b"\xff"]
NO_ENTRIES = [
    b"",
    b"x",
    b"normal/",
    b"normal/x-y",
    b"elsewhere/1-1",
    b"normal/18446744073709551616-1",
    b"normal/1-18446744073709551616",
    b"normal/999999999999999999999-1",
]


@pytest.mark.parametrize("garbage", NO_NUMBERS)
@pytest.mark.parametrize("field", ["attempt", "max", "ttl", "expires", "unknown", "said", "progress"])
async def test_a_number_that_is_none_stops_nothing(queue: Queue, field: str, garbage: bytes) -> None:
    job, sound = await queue.running(), await queue.submit()
    await queue.redis.hset(queue.keys.job(job.key), field, garbage)
    await queue.report(says(job, 1, "words"))
    assert await queue.settle(release(job)) == []
    begun = await queue.claim(slots=2)
    assert {job.key for job in begun} == {job.key, sound}
    assert await queue.settle(*map(succeed, begun)) == []
    assert (await queue.status(job.key)).state is State.SUCCEEDED
    assert await queue.ttl(queue.keys.job(job.key)) > LONG_MS


async def test_a_number_that_is_not_whole_is_cut_off(queue: Queue) -> None:
    job = await queue.running()
    await queue.redis.hset(queue.keys.job(job.key), "ttl", "5000.5")
    assert await queue.settle(succeed(job)) == []
    assert 0 < await queue.ttl(queue.keys.job(job.key)) <= 5000


@pytest.mark.parametrize("garbage", NO_NUMBERS)
async def test_a_fence_that_is_none_is_followed_by_one_that_was_never_used(queue: Queue, garbage: bytes) -> None:
    job, sound = await queue.running(), await queue.running()
    await queue.redis.hset(queue.keys.job(job.key), "fence", garbage)
    assert set(await queue.reclaim()) == {job.key, sound.key}
    again = {found.key: found for found in await queue.claim(slots=2)}
    assert again[job.key].fence > job.fence


async def test_a_lane_that_is_none_is_the_normal_one(queue: Queue) -> None:
    key = await queue.submit(delay_ms=LONG_MS)
    await queue.redis.hset(queue.keys.job(key), "lane", "elsewhere")
    await queue.ripen(key)
    assert await queue.promote() == 1
    assert [job.key for job in await queue.claim()] == [key]


@pytest.mark.parametrize("garbage", NO_ENTRIES)
async def test_an_entry_that_is_none_is_replaced(queue: Queue, garbage: bytes) -> None:
    job, sound = await queue.running(), await queue.running()
    await queue.redis.hset(queue.keys.job(job.key), "entry", garbage)
    assert await queue.renew(job, sound) == {}
    assert await queue.entry_exists(job.key)
    await queue.redis.hset(queue.keys.job(job.key), "entry", garbage)
    assert await audit_stranded(queue) == [job.key]
    await queue.redis.hset(queue.keys.job(job.key), "entry", garbage)
    assert await queue.settle(succeed(job), succeed(sound)) == []


@pytest.mark.parametrize("due", [b"", b"x", b"nan", b"1e300"])
async def test_a_due_time_that_is_none_is_now(queue: Queue, due: bytes) -> None:
    key = await queue.submit(delay_ms=LONG_MS)
    await queue.redis.hset(queue.keys.job(key), "due", due)
    await queue.forget_wake_up_calls()
    assert await audit_stranded(queue) == [key]
    assert await queue.promote() == 1


@pytest.mark.parametrize("state", [b"", b"banana", b"\xff"])
async def test_a_record_that_cannot_be_read_becomes_a_dead_letter(queue: Queue, state: bytes) -> None:
    job, sound = await queue.running(), await queue.submit()
    await queue.redis.hset(queue.keys.job(job.key), "state", state)
    assert await job_queries.statuses(queue.broker, QUEUE, [job.key]) == [None]
    assert await queue.cancel(job.key) == [None]
    assert await audit_stranded(queue) == [job.key]
    status = await queue.status(job.key)
    assert status.state is State.DEAD
    assert status.error is not None
    assert status.error.type == "RecordLost"
    assert await queue.dead() == [job.key]
    assert [again.key for again in await queue.claim(slots=2)] == [sound]
    assert await queue.requeue(job.key) == [""]
    (again,) = await queue.claim()
    assert (again.key, again.fence > job.fence) == (job.key, True)


async def test_a_record_of_the_wrong_type_becomes_a_dead_letter(queue: Queue) -> None:
    job, delayed = await queue.running(), await queue.submit(delay_ms=LONG_MS)
    for key in (job.key, delayed):
        await queue.redis.unlink(queue.keys.job(key))
        await queue.redis.set(queue.keys.job(key), "x")
    assert set(await audit_stranded(queue)) == {job.key, delayed}
    assert await queue.state(job.key) is await queue.state(delayed) is State.DEAD
    assert not await queue.redis.exists(queue.keys.delayed)
    assert [refusal.reason for refusal in await queue.settle(succeed(job))] == ["stale"]


async def test_a_job_that_expires_during_an_audit_does_not_come_back(queue: Queue) -> None:
    assert await queue.broker.run("repair_jobs", QUEUE, "gone" * 6) == []
    assert not await queue.redis.exists(queue.keys.job("gone" * 6), queue.keys.dead)


async def test_a_submit_replaces_a_record_of_the_wrong_type(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.unlink(queue.keys.job(key), queue.keys.lane("normal"))
    await queue.redis.set(queue.keys.job(key), "x")
    await queue.broker.run("submit", QUEUE, key, b"payload", b"")
    assert await queue.state(key) is State.QUEUED


async def test_a_queued_job_whose_entry_is_none_gets_one(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.hset(queue.keys.job(key), "entry", "x")
    assert await audit_stranded(queue) == [key]
    assert [job.key for job in await queue.claim(slots=2)] == [key]


async def test_a_key_that_is_no_text_does_not_hold_the_janitor_up(queue: Queue) -> None:
    await queue.redis.hset(queue.keys.job("").encode() + b"\xff", "state", "queued")
    key = await queue.submit()
    await queue.forget_wake_up_calls()
    assert key in await audit_stranded(queue)


async def test_a_history_that_cannot_be_read_hides_no_status(queue: Queue) -> None:
    job = await queue.running()
    await queue.redis.rpush(queue.keys.history(job.key), "x", b"\xc1")
    await queue.settle(fail(job))
    assert [line.event for line in await queue.history(job.key)] == ["failed"]


@pytest.mark.parametrize("garbage", NO_NUMBERS)
async def test_a_dead_letter_whose_time_of_death_is_none_is_listed(queue: Queue, garbage: bytes) -> None:
    job = await queue.make(State.DEAD)
    await queue.redis.hset(queue.keys.job(job.key), "ended", garbage)
    await queue.redis.unlink(queue.keys.dead)
    assert await audit_stranded(queue) == [job.key]
    assert await audit_stranded(queue) == []


@pytest.mark.parametrize("garbage", NO_NUMBERS)
async def test_attempts_that_are_none_leave_a_history_that_can_be_read(queue: Queue, garbage: bytes) -> None:
    job = await queue.make(State.FAILED)
    await queue.redis.hset(queue.keys.job(job.key), "attempt", garbage)
    assert await queue.requeue(job.key) == [""]
    assert (await queue.history(job.key))[-1].attempt == 0
