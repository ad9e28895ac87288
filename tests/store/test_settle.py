"""Settling: how attempts end, what is kept of it, and who may no longer write."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from taskserver.domain.job import AttemptRecord, ClaimedJob, Failure, Outcome, State
from taskserver.domain.settlement import Defer, DeferLimits, Finish, Refusal, Settlement
from taskserver.store.jobs import settle
from taskserver.store.keys import GROUP
from taskserver.store.queries.outcomes import ended_jobs
from tests.patience import PATIENCE
from tests.store.harness import (
    LARGE_ERROR,
    LARGE_RESULT,
    LONG_MS,
    PATIENT,
    QUEUE,
    SMALL_ERROR,
    SMALL_RESULT,
    Queue,
    fail,
    release,
    retry,
    says,
    succeed,
)

DAY_MS = 86_400_000


def defer(job: ClaimedJob, error: bytes = SMALL_ERROR) -> Defer:
    return Defer(job.key, job.fence, error)


SETTLEMENTS: list[Callable[[ClaimedJob], Settlement]] = [succeed, fail, retry, release, defer]


async def next_attempt(queue: Queue, key: str) -> ClaimedJob:
    if await queue.state(key) is State.DELAYED:
        await queue.ripen(key)
        await queue.promote()
    (job,) = await queue.claim()
    return job


# Finish


@pytest.mark.parametrize("data", [SMALL_RESULT, LARGE_RESULT, b"x" * 64, b"x" * 65], ids=len)
async def test_a_result_is_kept_whatever_its_size(queue: Queue, data: bytes) -> None:
    job = await queue.running()
    assert await queue.settle(succeed(job, data)) == []
    assert await queue.outcome(job.key) == (State.SUCCEEDED, data)
    assert await queue.redis.exists(queue.keys.outcome(job.key)) == (len(data) > 64)


async def test_what_ended_leaves_nothing_in_the_lanes(queue: Queue) -> None:
    jobs = [await queue.running() for _ in range(3)]
    await queue.settle(*map(succeed, jobs))
    assert (await queue.entries(), await queue.pending()) == (0, 0)


@pytest.mark.parametrize("error", [SMALL_ERROR, LARGE_ERROR], ids=["small", "large"])
@pytest.mark.parametrize("state", [State.FAILED, State.DEAD])
async def test_a_failed_job_keeps_its_error(queue: Queue, state: State, error: bytes) -> None:
    job = await queue.running(worker="w3")
    await queue.settle(fail(job, state, error))
    failure = msgspec.msgpack.decode(error, type=Failure)
    status = await queue.status(job.key)
    assert (status.state, status.error) == (state, failure)
    assert [(line.attempt, line.worker, line.event, line.error) for line in status.history] == [
        (1, "w3", state.value, failure)
    ]
    assert (await queue.redis.zscore(queue.keys.dead, job.key) is not None) == (state is State.DEAD)


@pytest.mark.parametrize("first", [SMALL_ERROR, LARGE_ERROR], ids=["small", "large"])
@pytest.mark.parametrize("last", [SMALL_RESULT, LARGE_RESULT], ids=["small", "large"])
@pytest.mark.parametrize("how", [retry, defer])
async def test_a_result_replaces_the_error_before_it(
    queue: Queue, how: Callable[[ClaimedJob, bytes], Settlement], first: bytes, last: bytes
) -> None:
    job = await queue.running()
    await queue.settle(how(job, first))
    assert (await queue.status(job.key)).error == msgspec.msgpack.decode(first, type=Failure)
    job = await next_attempt(queue, job.key)
    await queue.settle(succeed(job, last))
    assert await queue.outcome(job.key) == (State.SUCCEEDED, last)
    status = await queue.status(job.key)
    assert status.error is None
    assert await queue.redis.exists(queue.keys.outcome(job.key)) == (last is LARGE_RESULT)


async def test_the_end_counts_the_attempts_that_were_spent(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(Finish(job.key, job.fence, 0, State.DEAD, SMALL_ERROR, job.entry))
    assert (await queue.status(job.key)).attempt == 0


async def test_all_that_is_kept_of_an_ended_job_ends_with_its_result(queue: Queue) -> None:
    job = await queue.running(result_ttl_ms=5_000)
    await queue.report(says(job, 1, "half", 0.5))
    await queue.settle(fail(job, State.FAILED, LARGE_ERROR))
    names = queue.keys
    for name in (names.job, names.message, names.outcome, names.events, names.history):
        assert 0 < await queue.ttl(name(job.key)) <= 5_000


@pytest.mark.parametrize(("state", "days"), [(State.SUCCEEDED, 1), (State.FAILED, 1), (State.DEAD, 30)])
async def test_how_long_a_record_is_kept_unless_somebody_said(queue: Queue, state: State, days: int) -> None:
    job = await queue.running()
    await queue.settle(fail(job, state))
    for name in (queue.keys.job(job.key), queue.keys.message(job.key)):
        assert (days * DAY_MS) - 60_000 < await queue.ttl(name) <= days * DAY_MS


async def test_the_list_of_dead_letters_forgets_those_whose_record_is_gone(queue: Queue) -> None:
    await queue.redis.zadd(queue.keys.dead, {"long-gone": 1})
    job = await queue.running()
    await queue.settle(fail(job, State.DEAD))
    assert await queue.redis.zrange(queue.keys.dead, 0, -1) == [job.key.encode()]


async def test_whoever_waits_is_told_on_the_channel_of_the_submitter(queue: Queue) -> None:
    job, other, third = [await queue.running() for _ in range(3)]
    async with queue.redis.pubsub() as client:
        await client.subscribe(queue.keys.done("000000"))
        await client.get_message(timeout=PATIENCE)
        await queue.settle(succeed(job), succeed(other, LARGE_RESULT), fail(third, State.FAILED, SMALL_ERROR))
        message = (await client.get_message(timeout=PATIENCE))["data"]
        assert list(ended_jobs(message)) == [
            (job.key, Outcome(State.SUCCEEDED, SMALL_RESULT)),
            (other.key, None),  # too long to be told
            (third.key, Outcome(State.FAILED, SMALL_ERROR)),
        ]


async def test_an_end_without_an_outcome_tells_where_to_look(queue: Queue) -> None:
    job = await queue.submit()
    async with queue.redis.pubsub() as client:
        await client.subscribe(queue.keys.done("000000"))
        await client.get_message(timeout=PATIENCE)
        await queue.cancel(job)
        assert list(ended_jobs((await client.get_message(timeout=PATIENCE))["data"])) == [(job, None)]


# Retry


async def test_a_failed_attempt_comes_back_after_its_delay(queue: Queue) -> None:
    job = await queue.running(lane="high")
    await queue.settle(retry(job, LARGE_ERROR, delay_ms=LONG_MS))
    status = await queue.status(job.key)
    assert (status.state, status.attempt) == (State.DELAYED, 1)
    assert await queue.promote() == 0
    again = await next_attempt(queue, job.key)
    assert (again.attempt, again.fence > job.fence) == (2, True)
    assert (await queue.entry(job.key))[0] == "high"


async def test_history_tells_each_attempt_with_its_error(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    for error in (SMALL_ERROR, LARGE_ERROR):
        await queue.settle(retry(job, error))
        job = await next_attempt(queue, job.key)
    await queue.settle(succeed(job))
    raw = await queue.redis.lrange(queue.keys.history(job.key), 0, -1)
    lines = [msgspec.msgpack.decode(line, type=AttemptRecord) for line in raw]
    assert [(line.attempt, line.event, line.error) for line in lines] == [
        (1, "retry", msgspec.msgpack.decode(SMALL_ERROR, type=Failure)),
        (2, "retry", msgspec.msgpack.decode(LARGE_ERROR, type=Failure)),
    ]
    assert lines == await queue.history(job.key)


async def test_history_is_bounded(queue: Queue) -> None:
    job = await queue.running()
    for _ in range(60):
        await queue.settle(release(job))
        (job,) = await queue.claim()
    history = await queue.history(job.key)
    assert (len(history), history[0].event) == (50, "released")


# Release


async def test_a_released_job_has_spent_no_attempt_and_goes_first(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.submit(lane="high")
    await queue.settle(release(job))
    assert (await queue.status(job.key)).attempt == 0
    again = await next_attempt(queue, job.key)
    assert (again.key, again.attempt, again.fence > job.fence) == (job.key, 1, True)
    assert [(line.worker, line.event) for line in await queue.history(job.key)] == [("w1", "released")]


# Defer


async def test_a_deferred_job_waits_for_another_worker_and_has_spent_no_attempt(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(defer(job))
    status = await queue.status(job.key)
    assert (status.state, status.attempt) == (State.DELAYED, 0)
    assert status.error == Failure("ValueError", "small")
    again = await next_attempt(queue, job.key)
    assert again.attempt == 1


async def test_deferrals_grow_with_the_time_that_the_job_has_waited(queue: Queue) -> None:
    job = await queue.running()
    for waited, expected in (
        (0, 1_000),
        (3_000, 1_500),
        (3_001, 1_500),
        (20_001, 10_000),
        (50_000, 10_000),
        (59_950, 50),
    ):
        now = await queue.redis.time()
        since = now[0] * 1000 + now[1] // 1000 - waited
        await queue.redis.hset(queue.keys.job(job.key), "unknown", since)
        await queue.settle(defer(job))
        due = (await queue.status(job.key)).due_at
        assert due is not None
        assert round(due * 1000) == pytest.approx(since + waited + expected, abs=200)
        job = await next_attempt(queue, job.key)


async def test_a_job_that_nobody_can_run_is_dead_when_patience_ends(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(defer(job, LARGE_ERROR), patience=DeferLimits(total_ms=0))
    status = await queue.status(job.key)
    assert (status.state, status.attempt) == (State.DEAD, 0)
    assert status.error == msgspec.msgpack.decode(LARGE_ERROR, type=Failure)
    assert await queue.ttl(queue.keys.outcome(job.key)) > 0


async def test_a_worker_that_knows_the_tool_starts_patience_anew(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(defer(job))
    job = await next_attempt(queue, job.key)
    await queue.settle(retry(job))
    assert await queue.field(job.key, "unknown") is None


# Who may write


@pytest.mark.parametrize("settlement", SETTLEMENTS)
async def test_a_repeated_call_whose_answer_was_lost_is_not_refused(
    queue: Queue, settlement: Callable[[ClaimedJob], Settlement]
) -> None:
    job = await queue.running()
    await queue.settle(settlement(job))
    before = await queue.record(job.key)
    assert await queue.settle(settlement(job)) == []
    assert await queue.record(job.key) == before
    assert len(await queue.history(job.key)) <= 1


@pytest.mark.parametrize("settlement", SETTLEMENTS)
async def test_a_repeated_call_does_not_undo_what_came_after_it(
    queue: Queue, settlement: Callable[[ClaimedJob], Settlement]
) -> None:
    job = await queue.running()
    await queue.settle(settlement(job))
    await queue.cancel(job.key)
    before, history = await queue.record(job.key), await queue.history(job.key)
    assert await queue.settle(settlement(job)) == []
    assert await queue.record(job.key) == before
    assert await queue.history(job.key) == history


@pytest.mark.parametrize("settlement", SETTLEMENTS)
@pytest.mark.parametrize("fence", [0, 2, 99, -1, "1.0", "01", ""])
async def test_a_forged_fence_is_stale(
    queue: Queue, settlement: Callable[[ClaimedJob], Settlement], fence: int | str
) -> None:
    job = await queue.running()
    before = await queue.record(job.key)
    forged = settlement(job)._replace(fence=fence)  # type: ignore[arg-type]
    assert await queue.settle(forged) == [Refusal(job.key, "stale")]
    assert await queue.record(job.key) == before


async def _reclaimed(queue: Queue, job: ClaimedJob) -> None:
    await queue.reclaim()


async def _reclaimed_and_begun(queue: Queue, job: ClaimedJob) -> None:
    await queue.reclaim()
    await queue.claim(worker="w2")


async def _released_and_begun(queue: Queue, job: ClaimedJob) -> None:
    await queue.settle(release(job))
    await queue.claim(worker="w2")


async def _requeued(queue: Queue, job: ClaimedJob) -> None:
    await queue.settle(fail(job))
    await queue.requeue(job.key)


async def _answered_and_begun(queue: Queue, job: ClaimedJob) -> None:
    await queue.wait(job)
    await queue.answer(job.key)
    await queue.claim(worker="w2")


@pytest.mark.parametrize("settlement", SETTLEMENTS)
@pytest.mark.parametrize(
    "moved_on", [_reclaimed, _reclaimed_and_begun, _released_and_begun, _requeued, _answered_and_begun]
)
async def test_a_zombie_cannot_write(
    queue: Queue,
    settlement: Callable[[ClaimedJob], Settlement],
    moved_on: Callable[[Queue, ClaimedJob], object],
) -> None:
    zombie = await queue.running(worker="w1")
    await moved_on(queue, zombie)  # type: ignore[misc]
    before = await queue.record(zombie.key)
    assert await queue.settle(settlement(zombie)) == [Refusal(zombie.key, "stale")]
    await queue.report(says(zombie, 1, "boo"))
    assert await queue.renew(zombie) == {zombie.key: "lost"}
    assert await queue.wait(zombie) == [zombie.key.encode(), b"stale"]
    assert await queue.record(zombie.key) == before


@pytest.mark.parametrize("settlement", SETTLEMENTS)
async def test_a_job_without_a_record_is_gone(queue: Queue, settlement: Callable[[ClaimedJob], Settlement]) -> None:
    job, wrong_type = await queue.running(), await queue.running()
    await queue.redis.unlink(queue.keys.job(job.key), queue.keys.job(wrong_type.key))
    await queue.redis.set(queue.keys.job(wrong_type.key), "not a hash")
    refused = await queue.settle(settlement(job), settlement(wrong_type))
    assert refused == [Refusal(job.key, "gone"), Refusal(wrong_type.key, "gone")]
    assert not await queue.redis.exists(queue.keys.job(job.key))


async def test_one_refused_settlement_does_not_stop_the_others(queue: Queue) -> None:
    first, second = await queue.running(), await queue.running()
    refused = await queue.settle(succeed(first), succeed(first._replace(fence=7)), succeed(second))
    assert [await queue.state(job.key) for job in (first, second)] == [State.SUCCEEDED] * 2
    assert refused == [Refusal(first.key, "stale")]


async def test_reports_and_all_kinds_of_settlement_share_a_round_trip(queue: Queue) -> None:
    jobs = [await queue.running() for _ in SETTLEMENTS]
    settlements = [settlement(job) for settlement, job in zip(SETTLEMENTS, jobs, strict=True)]
    reports = [says(job, 1, "last words") for job in jobs]
    assert await settle.settle(queue.broker, QUEUE, reports, settlements, PATIENT) == []
    states = [await queue.state(job.key) for job in jobs]
    assert states == [State.SUCCEEDED, State.FAILED, State.DELAYED, State.QUEUED, State.DELAYED]
    assert [await queue.redis.xlen(queue.keys.events(job.key)) for job in jobs] == [1] * len(jobs)


async def test_a_batch_that_ends_takes_no_entry_of_others_along(queue: Queue) -> None:
    for _ in range(9):
        await queue.submit()
    first, *ending, last = await queue.claim(slots=8)
    waiting = await queue.redis.xrange(queue.keys.lane("normal"))
    assert await queue.settle(*(succeed(job) for job in ending)) == []
    assert await queue.redis.xrange(queue.keys.lane("normal")) == [waiting[0], *waiting[-2:]]
    assert await queue.settle(succeed(first), succeed(last)) == []
    assert await queue.redis.xrange(queue.keys.lane("normal")) == waiting[-1:]


async def test_a_batch_ends_before_one_that_was_claimed_later(queue: Queue) -> None:
    for _ in range(6):
        await queue.submit()
    *ending, last = await queue.claim(slots=6)
    assert await queue.settle(*(succeed(job) for job in ending)) == []
    assert await queue.entries() == 1
    assert await queue.settle(succeed(last)) == []
    assert await queue.entries() == 0


@pytest.mark.parametrize("running", [0, 1])
async def test_a_batch_that_ends_leaves_what_a_rewound_group_reads_again(queue: Queue, running: int) -> None:
    lane = queue.keys.lane("normal")
    skipped = await queue.submit()
    await queue.redis.xgroup_setid(lane, GROUP, "$")
    for _ in range(5 + running):
        await queue.submit()
    ending = await queue.claim(slots=6)
    await queue.redis.xgroup_setid(lane, GROUP, "0")
    assert await queue.settle(*(succeed(job) for job in ending[:5])) == []
    assert await queue.entries() == 1 + running
    assert [job.key for job in await queue.claim()] == [skipped]


async def test_a_batch_ends_although_its_stream_was_deleted(queue: Queue) -> None:
    for _ in range(6):
        await queue.submit()
    jobs = await queue.claim(slots=6)
    await queue.redis.unlink(queue.keys.lane("normal"))
    assert await queue.settle(*(succeed(job) for job in jobs)) == []
    assert [await queue.state(job.key) for job in jobs] == [State.SUCCEEDED] * 6


async def test_a_large_batch_is_settled(queue: Queue) -> None:
    for _ in range(500):
        await queue.submit()
    jobs = await queue.claim(slots=500)
    assert await queue.settle(*map(succeed, jobs)) == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)
