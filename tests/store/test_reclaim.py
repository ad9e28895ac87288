"""Reclaiming: jobs of workers that stopped renewing come back, by one reclaimer at a time."""

from __future__ import annotations

from taskserver.domain.job import ClaimedJob, State
from taskserver.store.jobs import recover
from taskserver.store.jobs.claim import BlockingReader
from taskserver.store.jobs.recover import BATCH
from taskserver.store.keys import GROUP
from tests.store.harness import LONG_MS, QUEUE, Queue, succeed


async def test_a_lost_job_is_queued_again_and_the_attempt_is_spent(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    assert await queue.reclaim() == {job.key: "w1"}
    status = await queue.status(job.key)
    assert (status.state, status.attempt) == (State.QUEUED, 1)
    assert [(line.attempt, line.worker, line.event) for line in status.history] == [(1, "w1", "lost")]
    (again,) = await queue.claim(worker="w2")
    assert (again.attempt, again.fence > job.fence) == (2, True)


async def test_a_lease_that_is_not_over_is_left_alone(queue: Queue) -> None:
    job = await queue.running()
    assert await queue.reclaim(lease_ms=LONG_MS) == {}
    assert await queue.state(job.key) is State.RUNNING


async def test_an_entry_that_was_read_but_never_begun_costs_no_attempt(queue: Queue) -> None:
    key = await queue.submit()
    assert len(await BlockingReader(queue.broker, QUEUE, "w1").read()) == 1
    assert await queue.reclaim() == {key: ""}
    (job,) = await queue.claim(worker="w2")
    assert (job.key, job.attempt) == (key, 1)
    assert await queue.history(key) == []


async def test_a_job_asked_to_end_ends_when_its_worker_is_lost(queue: Queue) -> None:
    job = await queue.running()
    await queue.cancel(job.key)
    assert await queue.reclaim() == {}
    assert await queue.state(job.key) is State.CANCELLED
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_garbage_that_a_lost_worker_had_read_is_dropped(queue: Queue) -> None:
    lane = queue.keys.lane("normal")
    await queue.redis.xadd(lane, {"job": "unknown"})
    await queue.redis.xadd(lane, {"x": b"\xff"})
    await queue.redis.xreadgroup("workers", "w1", {lane: ">"})
    assert await queue.reclaim() == {}
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_more_jobs_than_one_call_looks_at_all_come_back(queue: Queue) -> None:
    keys = {await queue.submit() for _ in range(2 * BATCH + 10)}
    await queue.claim(slots=len(keys))
    back: set[str] = set()
    for _ in range(3):
        back |= set(await queue.reclaim())
    assert back == keys
    assert len(await queue.claim(slots=len(keys))) == len(keys)


async def test_one_worker_reclaims_at_a_time(queue: Queue) -> None:
    async def reclaim(worker: str) -> list[recover.LostJob] | None:
        return await recover.reclaim(queue.broker, QUEUE, worker, 0, hold_ms=LONG_MS)

    assert await reclaim("w1") == []
    assert await reclaim("w2") is None
    assert await reclaim("w1") == []
    await queue.redis.unlink(queue.keys.reclaimer)  # its time is over
    assert await reclaim("w2") == []
    assert await reclaim("w1") is None


async def test_a_reclaimer_that_dies_is_followed_by_another(queue: Queue) -> None:
    await recover.reclaim(queue.broker, QUEUE, "w1", 0, hold_ms=5_000)
    assert 0 < await queue.ttl(queue.keys.reclaimer) <= 5_000


async def test_reclaiming_makes_missing_groups_anew(queue: Queue) -> None:
    job = await queue.running()
    await queue.destroy_groups()
    assert await queue.reclaim() == {}
    await queue.claim(worker="w2")
    assert await queue.reclaim() == {job.key: "w1"}


# A broker that was away


async def nobody_looked_for(queue: Queue, milliseconds: int) -> None:
    """As after a broker that was frozen or down: the last look at leases lies so far back."""
    await queue.redis.hincrby(queue.keys.meta, "looked", -milliseconds)


async def test_after_the_broker_was_away_live_workers_get_the_time_to_renew(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim(lease_ms=30_000)
    await nobody_looked_for(queue, 21_000)  # more than two thirds of a lease: not even the last reclaimer came by
    assert await queue.reclaim(lease_ms=30_000) == {}
    await queue.redis.hset(queue.keys.meta, "patient", 1)  # that time is over
    assert await queue.redis.xclaim(
        queue.keys.lane("normal"), GROUP, "w1", 0, [await _entry_id(queue, job)], idle=30_001
    )
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


async def test_leases_that_ran_out_while_the_broker_was_away_are_not_lost_at_once(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim(lease_ms=30_000)
    await queue.redis.xclaim(queue.keys.lane("normal"), GROUP, "w1", 0, [await _entry_id(queue, job)], idle=40_000)
    await nobody_looked_for(queue, 40_000)
    for _ in range(2):
        assert await queue.reclaim(lease_ms=30_000) == {}
    assert await queue.renew(job) == {}
    await queue.redis.hset(queue.keys.meta, "patient", 1)
    assert await queue.reclaim(lease_ms=30_000) == {}


async def test_those_who_reclaim_late_all_the_time_take_back_what_was_lost(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim(lease_ms=30_000)
    await nobody_looked_for(queue, 21_000)
    assert await queue.reclaim(lease_ms=30_000) == {}
    await queue.redis.hincrby(queue.keys.meta, "patient", -21_000)  # that time has just passed
    await queue.redis.xclaim(queue.keys.lane("normal"), GROUP, "w1", 0, [await _entry_id(queue, job)], idle=40_000)
    await nobody_looked_for(queue, 21_000)
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


async def test_a_clock_that_was_set_back_does_not_prolong_that_time(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim(lease_ms=30_000)
    await queue.redis.hincrby(queue.keys.meta, "patient", 10**13)  # written before, by a clock that was ahead
    await queue.redis.xclaim(queue.keys.lane("normal"), GROUP, "w1", 0, [await _entry_id(queue, job)], idle=40_000)
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


async def test_those_who_may_not_reclaim_are_seen_all_the_same(queue: Queue) -> None:
    await queue.reclaim(lease_ms=30_000)
    await nobody_looked_for(queue, 19_000)
    assert await recover.reclaim(queue.broker, QUEUE, "another", 30_000, hold_ms=LONG_MS) is None
    assert int(await queue.redis.hget(queue.keys.meta, "looked")) > 0
    await nobody_looked_for(queue, 19_000)
    await queue.reclaim(lease_ms=30_000)
    assert await queue.redis.hget(queue.keys.meta, "patient") is None


async def _entry_id(queue: Queue, job: ClaimedJob) -> str:
    return (await queue.entry(job.key))[1]


# A claim whose answer was lost


async def recall(queue: Queue, *running: str, worker: str = "w1") -> list[str]:
    return await recover.recall(queue.broker, QUEUE, worker, running)


async def test_jobs_of_a_claim_that_was_not_answered_go_back_unspent(queue: Queue) -> None:
    known = await queue.running()
    other = await queue.running(worker="w2")
    unheard = await queue.running()
    assert await recall(queue, known.key) == [unheard.key]
    assert await queue.state(known.key) is await queue.state(other.key) is State.RUNNING
    (again,) = await queue.claim()
    assert (again.key, again.attempt, again.fence > unheard.fence) == (unheard.key, 1, True)


async def test_recalling_leaves_nothing_behind(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.xadd(queue.keys.lane("normal"), {"x": "y"})
    job = await queue.submit()
    await BlockingReader(queue.broker, QUEUE, "w1").read()
    await queue.redis.xreadgroup("workers", "w1", {queue.keys.lane("normal"): ">"})
    assert await recall(queue) == [key, job]
    assert (await queue.entries(), await queue.pending()) == (2, 0)


async def test_a_recalled_job_that_was_asked_to_end_ends(queue: Queue) -> None:
    job = await queue.running()
    await queue.cancel(job.key)
    assert await recall(queue) == []
    assert await queue.state(job.key) is State.CANCELLED
    assert await queue.pending() == 0


async def test_an_unheard_attempt_that_was_recalled_is_refused(queue: Queue) -> None:
    unheard = await queue.running()
    assert await recall(queue) == [unheard.key]
    assert [refusal.reason for refusal in await queue.settle(succeed(unheard))] == ["stale"]
