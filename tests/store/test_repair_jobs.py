"""Jobs whose wake-up call was lost get another, and consumers of workers that are gone leave."""

from __future__ import annotations

import pytest

from taskserver.domain.job import State
from taskserver.store.keys import GROUP
from taskserver.store.maintenance import audit
from taskserver.store.maintenance.damage import Damage
from tests.store.harness import LONG_MS, QUEUE, Queue, new_job, retry, submit_all, succeed


async def audit_stranded(queue: Queue, *, repair: bool = True) -> list[str]:
    """One round: the jobs that were woken, or would be."""
    steps = [step async for step in audit.audit_queue(queue.broker, QUEUE, repair=repair)]
    return [found.name for step in steps for found in step.found if found.damage is Damage.STRANDED]


@pytest.mark.parametrize("lane", ["high", "normal", "low"])
async def test_a_queued_job_whose_stream_was_deleted_waits_in_its_lane_again(queue: Queue, lane: str) -> None:
    key = await queue.submit(lane=lane)
    await queue.forget_wake_up_calls()
    assert await queue.claim() == []
    assert await audit_stranded(queue) == [key]
    assert (await queue.entry(key))[0] == lane
    assert [job.key for job in await queue.claim()] == [key]


async def test_a_job_that_lacks_nothing_is_left_alone(queue: Queue) -> None:
    for state in sorted(State, key=lambda state: state is State.QUEUED):  # it comes last: others claim what is queued
        await queue.make(state)
    await queue.renew(worker="w1")  # the running one's worker is alive
    assert await audit_stranded(queue) == []


async def test_a_running_job_gets_another_entry_whose_lease_its_worker_keeps(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.forget_wake_up_calls()
    assert await audit_stranded(queue) == [job.key]
    assert await queue.entry_exists(job.key)
    assert await queue.renew(job, worker="w1") == {}
    assert await queue.reclaim("w1") == {}
    assert await queue.settle(succeed(job)) == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_a_dead_workers_job_runs_again_and_the_attempt_is_spent(queue: Queue) -> None:
    job = await queue.running(worker="dead")
    await queue.forget_wake_up_calls()
    assert await audit_stranded(queue) == [job.key]
    assert await queue.reclaim() == {job.key: "dead"}
    (again,) = await queue.claim(worker="w2")
    assert (again.key, again.attempt) == (job.key, 2)
    assert again.fence > job.fence
    assert [line.event for line in await queue.history(job.key)] == ["lost"]


async def test_a_delayed_job_that_dropped_out_of_the_delay_set_comes_in_time(queue: Queue) -> None:
    key = await queue.submit(delay_ms=LONG_MS)
    due = await queue.redis.zscore(queue.keys.delayed, key)
    await queue.forget_wake_up_calls()
    assert await audit_stranded(queue) == [key]
    assert await queue.redis.zscore(queue.keys.delayed, key) == due


async def test_one_worker_at_a_time_is_the_janitor(queue: Queue) -> None:
    assert await audit.take_turn(queue.broker, QUEUE, "w1", LONG_MS)
    assert not await audit.take_turn(queue.broker, QUEUE, "w2", LONG_MS)
    assert await audit.take_turn(queue.broker, QUEUE, "w1", LONG_MS)
    assert await audit.keep_turn(queue.broker, QUEUE, "w1", LONG_MS)


async def test_after_groups_were_made_anew_one_worker_takes_over_the_audit(queue: Queue) -> None:
    """Not before workers have served the queue: at first, its groups are made too."""

    async def begin(worker: str) -> audit.Turn:
        return await audit.take_turn(queue.broker, QUEUE, worker, LONG_MS)

    assert await begin("w1") is audit.Turn.OURS
    await queue.reclaim()
    await queue.broker.prepare(QUEUE, again=True)  # nothing is missing
    assert await begin("w1") is audit.Turn.OURS
    await queue.redis.unlink(queue.keys.lane("normal"))
    await queue.claim()
    assert await audit.keep_turn(queue.broker, QUEUE, "w1", LONG_MS)
    assert [await begin(worker) for worker in ("w2", "w3", "w2")] == [
        audit.Turn.URGENT,
        audit.Turn.OTHERS,
        audit.Turn.OURS,
    ]
    assert not await audit.keep_turn(queue.broker, QUEUE, "w1", LONG_MS)


async def test_consumers_of_workers_that_are_gone_leave_unless_something_is_pending_for_them(queue: Queue) -> None:
    for worker in ("gone", "alive"):
        await queue.settle(succeed(await queue.running(worker=worker)))
    await queue.renew(worker="alive")
    await queue.running(worker="lost")
    assert "gone" in await audit.remove_gone_workers(queue.broker, QUEUE)
    left = await queue.redis.xinfo_consumers(queue.keys.lane("normal"), "workers")
    assert {consumer["name"] for consumer in left} == {b"alive", b"lost"}


# What must have started by some time


async def test_a_job_that_has_started_in_time_is_not_listed_to_expire(queue: Queue) -> None:
    job = await queue.running(expires_ms=LONG_MS)
    await queue.settle(retry(job, delay_ms=LONG_MS))
    assert await audit_stranded(queue) == []
    assert not await queue.redis.exists(queue.keys.expiring)


async def test_an_ended_job_is_not_listed_to_expire(queue: Queue) -> None:
    key = await queue.submit(expires_ms=LONG_MS)
    await queue.cancel(key)
    assert await audit_stranded(queue) == []
    assert not await queue.redis.exists(queue.keys.expiring)


async def test_a_question_that_must_be_answered_in_time_is_listed_again(queue: Queue) -> None:
    job = await queue.running()
    await queue.wait(job, limit_ms=LONG_MS)
    await queue.redis.unlink(queue.keys.expiring)
    assert await audit_stranded(queue) == [job.key]
    await queue.outdate(job.key)
    assert await queue.expire() == 1


async def test_a_question_without_a_limit_does_not_expire_with_its_job(queue: Queue) -> None:
    job = await queue.running(expires_ms=LONG_MS)
    await queue.wait(job)
    assert await audit_stranded(queue) == []
    assert not await queue.redis.exists(queue.keys.expiring)


# What is missing from the set of expiring or dead jobs


async def found_and_repaired(queue: Queue) -> list[str]:
    """What an audit that changes nothing finds; the audit that repairs finds the same, and the next one nothing."""
    stranded = await audit_stranded(queue, repair=False)
    assert await audit_stranded(queue) == stranded
    assert await audit_stranded(queue, repair=False) == await audit_stranded(queue) == []
    return stranded


async def test_a_job_that_is_missing_among_those_that_expire_is_reported_and_listed(queue: Queue) -> None:
    key = await queue.submit(expires_ms=LONG_MS)
    await queue.redis.unlink(queue.keys.expiring)
    assert await found_and_repaired(queue) == [key]
    assert await queue.redis.zscore(queue.keys.expiring, key)


async def test_a_dead_letter_that_is_missing_is_reported_and_listed(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    since = await queue.redis.zscore(queue.keys.dead, job.key)
    await queue.redis.unlink(queue.keys.dead)
    assert await found_and_repaired(queue) == [job.key]
    assert await queue.redis.zscore(queue.keys.dead, job.key) == since


async def test_a_dead_letter_that_is_too_old_for_the_list_is_not_listed_again(queue: Queue) -> None:
    old = await queue.make(State.DEAD)
    await queue.redis.hset(queue.keys.job(old.key), "ended", 1)
    await queue.redis.zadd(queue.keys.dead, {old.key: 1})
    new = await queue.make(State.DEAD)  # it takes the old one off the list
    assert await queue.redis.zrange(queue.keys.dead, 0, -1) == [new.key.encode()]
    assert await found_and_repaired(queue) == []
    assert await queue.redis.zrange(queue.keys.dead, 0, -1) == [new.key.encode()]


# Which entries will still be delivered


async def test_entries_of_one_millisecond_are_told_apart(queue: Queue) -> None:
    await submit_all(queue.broker, QUEUE, [new_job() for _ in range(12)])  # one call: …-0 to …-11
    await queue.claim(slots=10)
    assert await audit_stranded(queue) == []


async def test_ids_of_one_length_are_told_apart_by_their_parts(queue: Queue) -> None:
    lane, key = queue.keys.lane("normal"), await queue.submit()
    await queue.redis.unlink(lane)
    await queue.redis.xgroup_create(lane, GROUP, "99-10", mkstream=True)
    await queue.redis.xadd(lane, {"job": key}, id="100-9")
    await queue.redis.hset(queue.keys.job(key), "entry", "normal/100-9")
    assert await audit_stranded(queue) == []


async def test_a_group_of_somebody_else_misleads_nobody(queue: Queue) -> None:
    await queue.submit()
    await queue.redis.xgroup_create(queue.keys.lane("normal"), "another", "$")
    assert await audit_stranded(queue) == []


async def test_a_job_is_put_into_a_set_that_was_of_the_wrong_type(queue: Queue) -> None:
    key = await queue.submit(delay_ms=LONG_MS)
    await queue.redis.set(queue.keys.delayed, "x")
    assert await queue.broker.run("repair_jobs", QUEUE, key) == [key.encode()]
    assert await queue.redis.zrange(queue.keys.delayed, 0, -1) == [key.encode()]
