"""Cancelling: at once where nothing runs, by asking where something does."""

from __future__ import annotations

import pytest

from taskserver.domain.job import State
from taskserver.store.jobs import admin
from tests.patience import PATIENCE
from tests.store.harness import LARGE_ERROR, LONG_MS, QUEUE, Queue, release, retry, succeed


@pytest.mark.parametrize("state", [State.QUEUED, State.DELAYED, State.WAITING])
async def test_a_job_that_does_not_run_ends_at_once(queue: Queue, state: State) -> None:
    job = await queue.make(state)
    assert await queue.cancel(job.key) == [State.CANCELLED]
    assert await queue.claim() == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)
    assert not await queue.redis.exists(queue.keys.delayed)
    assert (await queue.status(job.key)).ended_at is not None


async def test_a_running_job_is_asked_and_its_worker_notified(queue: Queue) -> None:
    job = await queue.running()
    async with queue.redis.pubsub() as worker:
        await worker.subscribe(queue.keys.control)
        await worker.get_message(timeout=PATIENCE)
        assert await queue.cancel(job.key) == [State.RUNNING]
        assert (await worker.get_message(timeout=PATIENCE))["data"].decode() == f"cancel {job.key}"
    status = await queue.status(job.key)
    assert (status.state, status.cancel_requested) == (State.RUNNING, True)


async def test_each_job_is_answered_for_in_order(queue: Queue) -> None:
    ended = await queue.make(State.SUCCEEDED)
    queued = await queue.make(State.QUEUED)
    assert await queue.cancel("unknown", ended.key, queued.key, queued.key) == [
        None,
        State.SUCCEEDED,
        State.CANCELLED,
        State.CANCELLED,
    ]


async def test_a_job_that_finishes_before_it_hears_has_finished(queue: Queue) -> None:
    job = await queue.running()
    await queue.cancel(job.key)
    assert await queue.settle(succeed(job)) == []
    assert await queue.state(job.key) is State.SUCCEEDED
    assert await queue.cancel(job.key) == [State.SUCCEEDED]


@pytest.mark.parametrize("settlement", [retry, release])
async def test_no_further_attempt_follows_after_a_cancel(queue: Queue, settlement: object) -> None:
    job = await queue.running()
    await queue.cancel(job.key)
    assert await queue.settle(settlement(job)) == []  # type: ignore[operator]
    assert await queue.state(job.key) is State.CANCELLED
    assert await queue.claim() == []
    assert await queue.entries() == 0


async def test_the_last_error_stays_as_long_as_the_record(queue: Queue) -> None:
    job = await queue.running(result_ttl_ms=5_000)
    await queue.settle(retry(job, LARGE_ERROR, delay_ms=LONG_MS))
    await queue.cancel(job.key)
    assert (await queue.status(job.key)).error is not None
    assert 0 < await queue.ttl(queue.keys.outcome(job.key)) <= 5_000


async def test_very_many_jobs_are_cancelled_in_one_call(queue: Queue) -> None:
    keys = [await queue.submit() for _ in range(20)]
    unknown = [f"unknown{n}" for n in range(10_000)]
    states = await queue.cancel(*keys, *unknown)
    assert states == [State.CANCELLED] * len(keys) + [None] * len(unknown)


async def test_any_number_of_jobs_can_be_cancelled_run_again_and_deleted(queue: Queue) -> None:
    keys = [await queue.submit() for _ in range(1200)]
    assert await queue.cancel(*keys, "unknown") == [State.CANCELLED] * 1200 + [None]
    assert await queue.requeue(*keys) == [""] * 1200
    assert await admin.delete_dead(queue.broker, QUEUE, keys) == 0
