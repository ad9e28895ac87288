"""Requeueing: a person runs an ended job again."""

from __future__ import annotations

import time

import pytest

from taskserver.domain.job import NewJob, State
from taskserver.domain.signing import Keyring
from taskserver.store.jobs import admin
from tests.store.harness import (
    LARGE_ERROR,
    LARGE_RESULT,
    QUEUE,
    SMALL_RESULT,
    Queue,
    fail,
    new_job,
    retry,
    says,
    submit_all,
    succeed,
)


@pytest.mark.parametrize("state", [state for state in State if state.ended])
async def test_an_ended_job_runs_again_from_its_first_attempt(queue: Queue, state: State) -> None:
    ended = await queue.make(state)
    assert await queue.requeue(ended.key) == [""]
    status = await queue.status(ended.key)
    assert (status.state, status.attempt, status.ended_at, status.error) == (State.QUEUED, 0, None, None)
    (job,) = await queue.claim()
    assert job.attempt == 1
    assert job.fence > ended.fence + 1
    await queue.settle(succeed(job))
    assert await queue.outcome(job.key) == (State.SUCCEEDED, SMALL_RESULT)


async def test_messages_are_signed_again_however_large_they_are_together(queue: Queue) -> None:
    keyring = Keyring([b"k" * 32])
    jobs = [NewJob(new_job().key, b"") for _ in range(7)]
    for job in jobs:
        message = b"x" * 1_500_000
        await submit_all(queue.broker, QUEUE, [NewJob(job.key, keyring.seal(QUEUE, job.key, message, 0) + message)])
    await queue.cancel(*(job.key for job in jobs))
    assert len(await queue.broker.run("messages", QUEUE, *(job.key for job in jobs))) < len(jobs)
    assert await admin.requeue(queue.broker, QUEUE, [job.key for job in jobs], keyring) == [""] * 7
    for job in await queue.claim(slots=1) + await queue.claim(slots=1):
        assert len(keyring.open(QUEUE, job.key, job.payload, time.time_ns() // 1_000_000)) == 1_500_000


async def test_history_stays(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(fail(job))
    await queue.requeue(job.key)
    assert [(line.attempt, line.event) for line in await queue.history(job.key)] == [(1, "failed"), (1, "requeue")]


async def test_a_requeued_job_lives_without_an_end_again(queue: Queue) -> None:
    job = await queue.running(result_ttl_ms=1_000_000)
    await queue.settle(fail(job, State.DEAD, LARGE_ERROR))
    await queue.requeue(job.key)
    assert await queue.ttl(queue.keys.job(job.key)) == -1
    assert await queue.ttl(queue.keys.message(job.key)) == -1
    assert await queue.ttl(queue.keys.outcome(job.key)) == -2
    assert not await queue.redis.exists(queue.keys.dead)


async def test_it_goes_back_into_its_lane(queue: Queue) -> None:
    job = await queue.running(lane="low")
    await queue.settle(succeed(job))
    await queue.requeue(job.key)
    assert (await queue.entry(job.key))[0] == "low"


async def test_what_the_first_life_left_does_not_show_in_the_second(queue: Queue) -> None:
    job = await queue.running(expires_ms=60_000)
    await queue.report(says(job, 1, "half", 0.5))
    await queue.settle(succeed(job, LARGE_RESULT))
    await queue.requeue(job.key)
    (again,) = await queue.claim()
    status = await queue.status(job.key)
    assert (status.progress, status.ended_at, status.cancel_requested) == (None, None, False)
    await queue.report(says(again, 1, "half", 0.5))
    await queue.settle(retry(again))
    assert await queue.state(job.key) is State.DELAYED


@pytest.mark.parametrize("state", [state for state in State if not state.ended])
async def test_a_live_job_is_left_alone(queue: Queue, state: State) -> None:
    job = await queue.make(state)
    assert await queue.requeue(job.key) == [state.value]


async def test_a_job_whose_record_or_message_is_gone_cannot_run_again(queue: Queue) -> None:
    job = await queue.make(State.FAILED)
    await queue.redis.unlink(queue.keys.message(job.key))
    assert await queue.requeue(job.key, "unknown") == ["gone", "gone"]
    assert await queue.state(job.key) is State.FAILED


async def test_a_requeue_repeated_after_a_lost_answer_changes_nothing(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    await queue.requeue(job.key)
    before = await queue.record(job.key)
    assert await queue.requeue(job.key) == ["queued"]
    assert await queue.record(job.key) == before
    assert await queue.entries() == 1


async def test_a_message_without_a_record_cannot_run_again(queue: Queue) -> None:
    job, sound = await queue.make(State.FAILED), await queue.make(State.FAILED)
    await queue.redis.unlink(queue.keys.job(job.key))
    assert await queue.requeue(job.key, sound.key) == ["gone", ""]


async def test_a_requeue_whose_answer_was_lost_answers_the_same(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    for _ in range(2):
        assert await queue.broker.run("requeue", QUEUE, "call", job.key, "") == [b""]
    assert await queue.entries() == 1
