"""Emptying a queue, leaving it, and deleting dead letters for good."""

from __future__ import annotations

import asyncio

import pytest

from taskserver.domain.job import State
from taskserver.store.jobs import admin, recover
from taskserver.store.jobs.admin import BATCH
from taskserver.store.jobs.claim import BlockingReader
from tests.patience import PATIENCE
from tests.store.harness import LONG_MS, QUEUE, Queue, fail, says, succeed


async def purge(queue: Queue) -> int:
    return await asyncio.wait_for(admin.purge(queue.broker, QUEUE), PATIENCE)


async def test_all_that_waits_is_cancelled_and_what_runs_goes_on(queue: Queue) -> None:
    running = await queue.running()
    waiting = await queue.make(State.WAITING)
    gone = [await queue.submit(lane=lane) for lane in ("high", "normal", "low")]
    gone += [await queue.submit(delay_ms=LONG_MS)]
    assert await purge(queue) == len(gone)
    assert [await queue.state(key) for key in gone] == [State.CANCELLED] * len(gone)
    assert await queue.state(waiting.key) is State.WAITING
    assert await queue.settle(succeed(running)) == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_an_empty_queue_is_purged(queue: Queue) -> None:
    assert await purge(queue) == 0


async def test_more_jobs_than_a_batch_are_purged(queue: Queue) -> None:
    for _ in range(BATCH // 2 + 1):
        await queue.submit()
        await queue.submit(delay_ms=LONG_MS)
    assert await purge(queue) == 2 * (BATCH // 2 + 1)
    assert await queue.entries() == 0


async def test_a_purge_takes_a_batch_at_a_time(queue: Queue) -> None:
    for lane in ("high", "normal", "low"):
        await queue.submit(lane=lane)
    await queue.submit(delay_ms=LONG_MS)
    assert [await queue.broker.run("purge", QUEUE, call, 1) for call in "abcde"] == [[1, 1]] * 4 + [[0, 0]]


async def test_an_entry_that_a_worker_holds_is_left_to_it(queue: Queue) -> None:
    key = await queue.submit()
    entries = await BlockingReader(queue.broker, QUEUE, "w1").read()
    assert await purge(queue) == 0
    assert [job.key for job in await queue.claim(entries=entries)] == [key]


async def test_garbage_is_purged_but_does_not_count(queue: Queue) -> None:
    lane = queue.keys.lane("normal")
    key = await queue.submit()
    await queue.redis.xadd(lane, {"job": key})
    await queue.redis.xadd(lane, {"job": "unknown"})
    await queue.redis.xadd(lane, {b"\xff": b"\xfe"})
    assert await purge(queue) == 1
    assert await queue.entries() == 0


async def test_a_running_job_whose_entry_was_repaired_does_not_hold_the_purge_up(queue: Queue) -> None:
    job = await queue.running()
    await queue.delete_entry(job.key)
    await queue.renew(job)
    key = await queue.submit()
    assert await purge(queue) == 1
    assert await queue.state(key) is State.CANCELLED
    assert await queue.renew(job) == {}
    assert await queue.state(job.key) is State.RUNNING
    assert await queue.reclaim("w1") == {}


async def test_a_purge_after_the_groups_were_destroyed_ends_no_running_job(queue: Queue) -> None:
    job = await queue.running()
    key = await queue.submit()
    await queue.destroy_groups()
    assert await purge(queue) == 1
    assert (await queue.state(job.key), await queue.state(key)) == (State.RUNNING, State.CANCELLED)
    assert await queue.reclaim() == {job.key: "w1"}


# Leaving


async def consumers(queue: Queue, lane: str = "normal") -> list[bytes]:
    return [consumer["name"] for consumer in await queue.redis.xinfo_consumers(queue.keys.lane(lane), "workers")]


async def test_a_worker_that_leaves_takes_its_name_with_it(queue: Queue) -> None:
    await queue.settle(succeed(await queue.running()))
    await queue.renew()
    assert await consumers(queue) == [b"w1"]
    await recover.leave(queue.broker, QUEUE, "w1")
    assert await consumers(queue) == []
    assert not await queue.redis.exists(queue.keys.worker("w1"))


async def test_a_worker_with_jobs_stays_so_that_they_are_not_lost(queue: Queue) -> None:
    job = await queue.running()
    await recover.leave(queue.broker, QUEUE, "w1")
    assert await consumers(queue) == [b"w1"]
    assert await queue.reclaim() == {job.key: "w1"}


async def test_leaving_twice_or_without_having_come_is_harmless(queue: Queue) -> None:
    for _ in range(2):
        await recover.leave(queue.broker, QUEUE, "w9")


# Dead letters


async def delete_dead(queue: Queue, *keys: str) -> int:
    return await admin.delete_dead(queue.broker, QUEUE, keys)


async def test_a_dead_letter_is_deleted_with_all_that_is_kept_of_it(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(says(job, 1, "last words"))
    await queue.settle(fail(job, State.DEAD))
    assert await delete_dead(queue, job.key) == 1
    assert await queue.redis.keys(f"*{job.key}*") == []
    assert not await queue.redis.exists(queue.keys.dead)
    assert await delete_dead(queue, job.key) == 0


@pytest.mark.parametrize("state", [state for state in State if state is not State.DEAD])
async def test_no_other_job_is_deleted(queue: Queue, state: State) -> None:
    job = await queue.make(state)
    assert await delete_dead(queue, job.key) == 0
    assert await queue.state(job.key) is state


async def test_a_dead_letter_that_somebody_requeued_meanwhile_is_not_deleted(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    await queue.requeue(job.key)
    assert await delete_dead(queue, job.key) == 0
    assert [again.key for again in await queue.claim()] == [job.key]


async def test_the_list_forgets_a_dead_letter_whose_record_has_expired(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    await queue.redis.unlink(queue.keys.job(job.key))
    await delete_dead(queue, job.key)
    assert not await queue.redis.exists(queue.keys.dead)


async def test_a_purge_whose_answer_was_lost_answers_the_same(queue: Queue) -> None:
    for _ in range(3):
        await queue.submit()
    assert await queue.broker.run("purge", QUEUE, "call", 2) == [2, 2]
    assert await queue.broker.run("purge", QUEUE, "call", 2) == [2, 2]
    assert await queue.broker.run("purge", QUEUE, "another", 2) == [1, 1]


async def test_a_deletion_whose_answer_was_lost_answers_the_same(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    for _ in range(2):
        assert await queue.broker.run("delete_dead", QUEUE, "call", job.key) == 1
