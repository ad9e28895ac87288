"""Waiting for an answer from outside: the job holds no slot and no lease until it comes."""

from __future__ import annotations

import pytest

from taskserver.domain.job import State
from tests.store.harness import LONG_MS, Queue


async def test_a_waiting_job_gives_up_its_slot_and_its_lease(queue: Queue) -> None:
    job = await queue.running()
    assert await queue.wait(job) == []
    assert await queue.state(job.key) is State.WAITING
    assert (await queue.entries(), await queue.pending()) == (0, 0)
    assert await queue.reclaim() == {}
    assert await queue.field(job.key, "question") == b"question"


async def test_the_answer_brings_it_back_first_and_costs_no_attempt(queue: Queue) -> None:
    job = await queue.running(lane="low", max_attempts=1)
    await queue.wait(job)
    await queue.submit(lane="high")
    assert await queue.answer(job.key, b"go on") == []
    (again,) = await queue.claim()
    assert (again.key, again.attempt, again.fence > job.fence) == (job.key, 1, True)
    assert await queue.field(job.key, "answer") == b"go on"


async def test_the_first_answer_counts(queue: Queue) -> None:
    job = await queue.running()
    await queue.wait(job)
    await queue.answer(job.key, b"first")
    assert await queue.answer(job.key, b"second") == [job.key.encode(), b"queued"]
    assert await queue.field(job.key, "answer") == b"first"
    assert await queue.entries() == 1


async def test_a_second_question_forgets_the_first_answer(queue: Queue) -> None:
    job = await queue.running()
    await queue.wait(job)
    await queue.answer(job.key, b"first")
    (job,) = await queue.claim()
    await queue.wait(job)
    assert await queue.field(job.key, "answer") is None


async def test_nobody_answers_a_job_that_does_not_ask(queue: Queue) -> None:
    assert await queue.answer("unknown") == [b"unknown", b""]
    job = await queue.running()
    assert await queue.answer(job.key) == [job.key.encode(), b"running"]


async def test_an_answer_that_does_not_come_in_time_ends_the_job(queue: Queue) -> None:
    job = await queue.running()
    await queue.wait(job, limit_ms=LONG_MS)
    await queue.outdate(job.key)
    assert await queue.expire() == 1
    assert await queue.answer(job.key) == [job.key.encode(), b"expired"]
    assert await queue.state(job.key) is State.EXPIRED


async def test_an_answered_job_no_longer_expires(queue: Queue) -> None:
    job = await queue.running()
    await queue.wait(job, limit_ms=LONG_MS)
    await queue.answer(job.key)
    assert not await queue.redis.exists(queue.keys.expiring)
    assert await queue.field(job.key, "expires") is None
    assert len(await queue.claim()) == 1


async def test_a_question_repeated_after_a_lost_answer_changes_nothing(queue: Queue) -> None:
    job = await queue.running()
    await queue.wait(job)
    before = await queue.record(job.key)
    assert await queue.wait(job) == [job.key.encode(), b"done"]
    assert await queue.record(job.key) == before


@pytest.mark.parametrize("forged", ["fence", "key"])
async def test_nobody_else_may_make_it_wait(queue: Queue, forged: str) -> None:
    job = await queue.running()
    other = job._replace(fence=2) if forged == "fence" else job._replace(key="unknown")
    assert await queue.wait(other) == [other.key.encode(), b"stale" if forged == "fence" else b"gone"]
    assert await queue.state(job.key) is State.RUNNING


async def test_a_job_asked_to_end_does_not_wait(queue: Queue) -> None:
    job = await queue.running()
    await queue.cancel(job.key)
    await queue.wait(job)
    assert await queue.state(job.key) is State.CANCELLED
