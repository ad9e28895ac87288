"""Reclaiming: jobs of workers that stopped renewing come back, by one reclaimer at a time."""

from __future__ import annotations

import msgspec
import pytest

from taskserver.domain.job import ClaimedJob, State
from taskserver.store.jobs import recover
from taskserver.store.jobs.claim import BlockingReader
from taskserver.store.jobs.recover import BATCH
from taskserver.store.keys import GROUP
from tests.store.harness import LONG_MS, QUEUE, Queue, release, succeed


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
    assert await queue.reclaim("w1") == {}
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


async def test_reclaiming_makes_missing_groups_anew(queue: Queue) -> None:
    job = await queue.running()
    await queue.destroy_groups()
    assert await queue.reclaim() == {}
    await queue.claim(worker="w2")
    assert await queue.reclaim() == {job.key: "w1"}


# Whose lease it is


async def silent_for(queue: Queue, job: ClaimedJob, milliseconds: int) -> None:
    """As if the job's worker had renewed its other jobs since, and not this one."""
    lane, id_ = await queue.entry(job.key)
    await queue.redis.xclaim(queue.keys.lane(lane), GROUP, "w1", 0, [id_], idle=milliseconds, justid=True)


def snapshot(lease_ms: object) -> bytes:
    return msgspec.msgpack.encode({"name": "w1", "valid_ms": lease_ms})


@pytest.mark.parametrize(
    ("own_ms", "said", "silent_ms", "lost"),
    [
        (1_000, snapshot(60_000), 8_000, False),
        (1_000, snapshot(60_000), 61_000, True),
        (60_000, snapshot(1_000), 8_000, True),
        (60_000, snapshot(1_000), 500, False),
        (1_000, snapshot(-5), 8_000, True),
        (1_000, snapshot(0), 500, False),
        (60_000, snapshot("long"), 8_000, False),
        (60_000, b"\xc1 no snapshot", 8_000, False),
        (60_000, msgspec.msgpack.encode(7), 61_000, True),
    ],
)
async def test_a_job_that_a_live_worker_does_not_renew_is_lost_after_the_lease_of_that_worker(
    queue: Queue, own_ms: int, said: bytes, silent_ms: int, lost: bool
) -> None:
    job = await queue.running(worker="w1")
    await queue.redis.set(queue.keys.worker("w1"), said, px=LONG_MS)
    await silent_for(queue, job, silent_ms)
    assert await queue.reclaim("w1", lease_ms=own_ms) == ({job.key: "w1"} if lost else {})


@pytest.mark.parametrize("own_ms", [1_000, 60_000])
async def test_a_worker_that_is_gone_has_lost_its_jobs_whatever_the_reclaimers_own_lease(
    queue: Queue, own_ms: int
) -> None:
    job = await queue.running(worker="w1")
    assert await queue.reclaim(lease_ms=own_ms) == {job.key: "w1"}


async def test_an_entry_that_another_has_read_goes_back_to_the_live_worker_that_runs_its_job(queue: Queue) -> None:
    jobs = [await queue.running(worker="w1") for _ in range(BATCH + 1)]
    await queue.destroy_groups()
    assert await queue.claim(slots=len(jobs), worker="w2") == []  # and then it dies
    lost = await queue.running(worker="w2")
    assert await queue.reclaim("w1") | await queue.reclaim("w1") == {lost.key: "w2"}
    assert await queue.reclaim("w2") == {job.key: "w1" for job in jobs[:BATCH]}
    assert await queue.reclaim("w2") == {jobs[BATCH].key: "w1"}


async def test_a_job_that_waits_again_is_not_left_to_the_worker_that_ran_it(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.settle(release(job))
    assert len(await BlockingReader(queue.broker, QUEUE, "w2").read()) == 1
    assert await queue.reclaim("w1") == {job.key: ""}


# How soon


async def test_one_lost_job_is_found_among_many_that_are_not(queue: Queue) -> None:
    for _ in range(11 * BATCH):
        await queue.submit()
    while await queue.claim(slots=11 * BATCH, worker="w1"):
        pass
    lost = await queue.running(worker="w2")
    assert await queue.reclaim("w1") == {lost.key: "w2"}


async def test_as_long_as_there_is_more_to_look_at_the_next_look_is_at_once(queue: Queue) -> None:
    keys = [await queue.submit() for _ in range(2 * BATCH + 10)]
    await queue.claim(slots=len(keys), worker="w1")
    await queue.cancel(*keys[: BATCH + 5])
    looks = [await recover.reclaim(queue.broker, QUEUE, "w2", LONG_MS) for _ in range(3)]
    assert [len(look.lost) for look in looks] == [0, BATCH - 5, 10]  # those that were cancelled do not come back
    assert [look.next_ms > 0 for look in looks] == [False, False, True]
    assert len(await queue.claim(slots=len(keys))) == BATCH + 5


async def test_the_next_look_is_when_the_first_lease_may_be_over(queue: Queue) -> None:
    await queue.running(worker="w1")
    await queue.running(worker="w2")
    await queue.redis.set(queue.keys.worker("w1"), snapshot(50_000), px=50_000)
    await queue.redis.set(queue.keys.worker("w2"), snapshot(5_000), px=3_000)
    look = await recover.reclaim(queue.broker, QUEUE, "w3", 60_000)
    assert 2_000 < look.next_ms <= 3_001


async def test_a_worker_whose_key_has_no_end_makes_nobody_look_all_the_time(queue: Queue) -> None:
    await queue.running(worker="w1")
    await queue.redis.set(queue.keys.worker("w1"), snapshot(50_000))
    assert (await recover.reclaim(queue.broker, QUEUE, "w3", 60_000)).next_ms == 60_001


async def test_one_worker_reclaims_at_a_time(queue: Queue) -> None:
    async def reclaim(worker: str) -> bool:
        return (await recover.reclaim(queue.broker, QUEUE, worker, LONG_MS)).is_reclaimer

    assert await reclaim("w1")
    assert not await reclaim("w2")
    assert await reclaim("w1")
    await queue.redis.unlink(queue.keys.reclaimer)  # its time is over
    assert await reclaim("w2")
    assert not await reclaim("w1")


async def test_a_reclaimer_that_dies_is_followed_by_another(queue: Queue) -> None:
    await recover.reclaim(queue.broker, QUEUE, "w1", 6_000)
    assert 0 < await queue.ttl(queue.keys.reclaimer) <= 4_000
    waiting = await recover.reclaim(queue.broker, QUEUE, "w2", 6_000)
    assert 0 < waiting.next_ms <= 2_000


async def test_a_worker_with_a_shorter_lease_takes_over_and_the_others_look_as_often(queue: Queue) -> None:
    assert (await recover.reclaim(queue.broker, QUEUE, "w1", 60_000)).is_reclaimer
    async with queue.redis.pubsub() as listening:
        await listening.subscribe(queue.keys.control)
        await listening.get_message(timeout=5)
        assert (await recover.reclaim(queue.broker, QUEUE, "w2", 6_000)).is_reclaimer
        heard = await listening.get_message(timeout=5)
    assert heard["data"] == b"reclaim"
    waiting = await recover.reclaim(queue.broker, QUEUE, "w1", 60_000)
    assert (waiting.is_reclaimer, waiting.next_ms) == (False, 2_000)


# A broker that was away


async def nobody_looked_for(queue: Queue, milliseconds: int) -> None:
    """As after a broker that was frozen or down: the last look at leases lies so far back."""
    await queue.redis.hincrby(queue.keys.meta, "looked", -milliseconds)


async def patience_is_over(queue: Queue) -> None:
    await queue.redis.hset(queue.keys.meta, "patient", 1)


async def test_after_the_broker_was_away_live_workers_get_the_time_to_renew(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    assert await queue.reclaim("w1", lease_ms=30_000) == {}
    await nobody_looked_for(queue, 21_000)  # more than two thirds of a lease: not even the last reclaimer came by
    for _ in range(2):
        assert await queue.reclaim(lease_ms=30_000) == {}
    await patience_is_over(queue)
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


async def test_the_next_look_is_when_that_time_is_over(queue: Queue) -> None:
    await queue.reclaim(lease_ms=30_000)
    await nobody_looked_for(queue, 40_000)
    look = await recover.reclaim(queue.broker, QUEUE, "reclaiming", 30_000)
    assert 15_000 < look.next_ms <= 20_000


@pytest.mark.parametrize(
    ("first_ms", "second_ms", "away_ms", "patient_ms"),
    [
        (30_000, 3_000, 15_000, 0),  # it was to come every 10 s, and nobody can have lost a lease of 30 s
        (3_000, 30_000, 15_000, 15_000),
        (3_000, 30_000, 50_000, 20_000),
    ],
)
async def test_that_time_is_measured_by_the_leases_that_were_there(
    queue: Queue, first_ms: int, second_ms: int, away_ms: int, patient_ms: int
) -> None:
    await queue.reclaim(lease_ms=first_ms)
    await queue.redis.unlink(queue.keys.reclaimer)
    await nobody_looked_for(queue, away_ms)
    job = await queue.running(worker="w1")
    look = await recover.reclaim(queue.broker, QUEUE, "reclaiming", second_ms)
    assert (look.lost == []) == (patient_ms > 0)
    if patient_ms:
        assert abs(look.next_ms - patient_ms) < 5_000
        await patience_is_over(queue)
        assert await queue.reclaim(lease_ms=second_ms) == {job.key: "w1"}


async def test_workers_with_a_long_lease_get_time_after_an_absence_although_those_with_a_short_one_look(
    queue: Queue,
) -> None:
    job = await queue.running(worker="w1")
    await queue.redis.set(queue.keys.worker("w1"), snapshot(30_000), px=30_000)
    assert await queue.reclaim("w1", lease_ms=3_000) == {}
    await nobody_looked_for(queue, 40_000)
    await queue.redis.unlink(queue.keys.worker("w1"))
    for _ in range(2):
        look = await recover.reclaim(queue.broker, QUEUE, "reclaiming", 3_000)
        assert (look.lost, 15_000 < look.next_ms <= 20_000) == ([], True)
    assert await queue.renew(job) == {}


async def test_who_knows_that_no_worker_is_alive_need_not_wait(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim("w1", lease_ms=30_000)
    await queue.redis.unlink(queue.keys.worker("w1"))
    await nobody_looked_for(queue, 40_000)
    look = await recover.reclaim(queue.broker, QUEUE, "doctor", 30_000, patient=False)
    assert [lost.key for lost in look.lost] == [job.key]


async def test_those_who_reclaim_late_all_the_time_take_back_what_was_lost(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim("w1", lease_ms=30_000)
    await nobody_looked_for(queue, 21_000)
    assert await queue.reclaim(lease_ms=30_000) == {}
    await queue.redis.hincrby(queue.keys.meta, "patient", -21_000)  # that time has just passed
    await nobody_looked_for(queue, 21_000)
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


async def test_a_clock_that_was_set_back_does_not_prolong_that_time(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim("w1", lease_ms=30_000)
    await queue.redis.hincrby(queue.keys.meta, "patient", 10**13)  # written before, by a clock that was ahead
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


async def test_those_who_may_not_reclaim_are_seen_all_the_same(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.reclaim("w1", lease_ms=30_000)
    await nobody_looked_for(queue, 19_000)
    assert not (await recover.reclaim(queue.broker, QUEUE, "another", 30_000)).is_reclaimer
    await nobody_looked_for(queue, 19_000)
    assert await queue.reclaim(lease_ms=30_000) == {job.key: "w1"}


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


async def test_more_jobs_go_back_than_one_call_looks_at(queue: Queue) -> None:
    unheard = {(await queue.running(lane=lane)).key for lane in ("high", "high", "high", "normal", "low")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(recover, "RECALL_PAGE", 2)
        assert set(await recall(queue)) == unheard
    assert (await queue.entries(), await queue.pending()) == (5, 0)


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
