"""Looking at jobs and queues: what is shown, and that one broken record does not hide the others."""

from __future__ import annotations

import time

import pytest

from taskserver.domain.events import START
from taskserver.domain.ids import JobRef
from taskserver.domain.job import NewJob, Outcome, State
from taskserver.store.jobs import admin
from taskserver.store.jobs.submit import submit
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries import queues
from taskserver.store.queries.outcomes import read_outcomes
from tests.store.harness import (
    LARGE_RESULT,
    LONG_MS,
    PAYLOAD,
    QUEUE,
    SMALL_RESULT,
    Queue,
    fail,
    new_job,
    retry,
    says,
    succeed,
)


async def test_how_long_a_job_has_until_it_expires_is_its_outcome_until_it_starts(queue: Queue) -> None:
    key = await queue.submit(expires_ms=LONG_MS)
    (queued,) = await read_outcomes(queue.broker, QUEUE, [key])
    assert queued is not None
    assert 0 < int(queued.data) <= LONG_MS
    await queue.claim()
    assert await read_outcomes(queue.broker, QUEUE, [key]) == [Outcome(State.RUNNING, b"")]


async def test_a_job_that_has_not_ended_has_no_outcome_yet(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(retry(job))
    assert await queue.outcome(job.key) == (State.DELAYED, b"")


async def test_outcomes_come_in_the_order_asked_for(queue: Queue) -> None:
    small, large = await queue.running(), await queue.running()
    await queue.settle(succeed(small), succeed(large, LARGE_RESULT))
    assert await read_outcomes(queue.broker, QUEUE, [large.key, "unknown", small.key]) == [
        Outcome(State.SUCCEEDED, LARGE_RESULT),
        None,
        Outcome(State.SUCCEEDED, SMALL_RESULT),
    ]


async def test_a_key_of_the_wrong_type_hides_no_other_job(queue: Queue) -> None:
    sound = await queue.make(State.SUCCEEDED)
    await queue.redis.set(queue.keys.job("broken"), "not a hash")
    assert [outcome is None for outcome in await read_outcomes(queue.broker, QUEUE, ["broken", sound.key])] == [
        True,
        False,
    ]
    assert [status is None for status in await job_queries.statuses(queue.broker, QUEUE, ["broken", sound.key])] == [
        True,
        False,
    ]


async def test_status_tells_what_the_message_says(queue: Queue) -> None:
    key = await queue.submit(max_attempts=3)
    status = await queue.status(key)
    assert (status.id, status.queue, status.tool, status.arguments) == (f"{QUEUE}-{key}", QUEUE, "add", {"a": 1})
    assert (status.tags, status.submitted_at, status.max_attempts) == (["red"], 1_700_000_000, 3)
    assert (status.attempt, status.worker, status.error, status.history) == (0, "", None, [])


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\xc1", b"\x91" * 40_000, PAYLOAD[:-1], None])
async def test_status_of_a_job_whose_message_cannot_be_read(queue: Queue, payload: bytes | None) -> None:
    key = await queue.submit()
    await queue.redis.unlink(queue.keys.message(key))
    if payload is not None:
        await queue.redis.set(queue.keys.message(key), payload)
    status = await queue.status(key)
    assert (status.state, status.tool, status.arguments) == (State.QUEUED, "", None)


async def test_an_error_that_cannot_be_read_is_told_as_such(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(fail(job))
    await queue.redis.hset(queue.keys.job(job.key), "data", b"\xc1")
    error = (await queue.status(job.key)).error
    assert error is not None
    assert error.type == "Unreadable"


async def test_a_scan_finds_every_job(queue: Queue) -> None:
    keys = {await queue.submit() for _ in range(700)}
    assert {key async for page in job_queries.scan(queue.broker, QUEUE) for key in page} == keys
    assert [page async for page in job_queries.scan(queue.broker, "other") if page] == []


async def test_large_results_come_in_several_answers(queue: Queue) -> None:
    large = b"\xc6" + (2_000_000).to_bytes(4, "big") + bytes(2_000_000)
    keys = []
    for _ in range(5):
        job = await queue.running()
        await queue.settle(succeed(job, large))
        keys.append(job.key)
    assert len(await read_outcomes(queue.broker, QUEUE, keys)) == 3
    assert len(await read_outcomes(queue.broker, QUEUE, keys[3:])) == 2


async def test_dead_letters_are_listed_newest_first(queue: Queue) -> None:
    held = [await queue.make(State.DEAD) for _ in range(5)]
    for score, job in enumerate(held, 10**15):
        await queue.redis.zadd(queue.keys.dead, {job.key: score})
    assert await queue.dead() == [job.key for job in reversed(held)]


async def test_a_queue_tells_what_waits_and_runs(queue: Queue) -> None:
    begun = time.monotonic()
    await queue.running()
    await queue.make(State.DEAD)
    await queue.submit(delay_ms=LONG_MS)
    await queue.submit(lane="high")
    await queue.submit()
    await admin.pause(queue.broker, QUEUE)
    info = await queues.info(queue.broker, QUEUE)
    assert (info.name, info.paused, info.running, info.delayed, info.dead) == (QUEUE, True, 1, 1, 1)
    assert info.ready == {"returned": 0, "high": 1, "normal": 1, "low": 0}
    assert info.oldest_age is not None
    assert 0 <= info.oldest_age <= time.monotonic() - begun


async def test_a_queue_whose_streams_were_deleted_is_empty(queue: Queue) -> None:
    await queue.submit()
    await queue.redis.flushall()
    info = await queues.info(queue.broker, QUEUE)
    assert (sum(info.ready.values()), info.running, info.oldest_age) == (0, 0, None)
    assert await queues.names(queue.broker) == [QUEUE]


async def test_statuses_come_in_the_order_asked_for_however_large_they_are_together(queue: Queue) -> None:
    jobs = [NewJob(new_job().key, b"x" * 2_000_000) for _ in range(5)]
    await submit(queue.broker, QUEUE, jobs)
    keys = ["unknown", *(job.key for job in jobs), "unknown"]
    found = await job_queries.statuses(queue.broker, QUEUE, keys)
    assert [status and status.id for status in found] == [None, *(f"{QUEUE}-{job.key}" for job in jobs), None]
    assert 0 < len(await job_queries.first_statuses(queue.broker, QUEUE, keys)) < len(keys)


async def test_a_brief_status_of_a_job_of_an_earlier_version_reads_its_message(queue: Queue) -> None:
    """It has no summary beside its message."""
    key = await queue.submit()
    (status,) = await job_queries.statuses(queue.broker, QUEUE, [key], brief=True)
    assert status is not None
    assert (status.tool, status.tags) == ("add", ["red"])


async def test_a_history_of_the_wrong_type_hides_no_job(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.set(queue.keys.history(key), "not a list")
    assert (await queue.status(key)).history == []


async def test_large_events_come_in_several_pages(queue: Queue) -> None:
    job = await queue.running()
    texts = [f"{number} " + "x" * 60_000 for number in range(60)]
    for number, text in enumerate(texts, 1):
        await queue.report(says(job, number, text))
    pages, after = [], START
    while page := await job_queries.events(queue.broker, JobRef(QUEUE, job.key), after):
        pages.append(page)
        after = page[-1].cursor
    assert [event.text for page in pages for event in page] == texts
    assert max(map(len, pages)) < len(texts) / 2


async def test_a_page_has_a_bounded_number_of_small_events(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(*(says(job, number, str(number)) for number in range(1, 701)))
    page = await job_queries.events(queue.broker, JobRef(QUEUE, job.key))
    assert [event.text for event in page] == [str(number) for number in range(1, job_queries.PAGE + 1)]


async def test_events_of_the_wrong_type_are_none(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.set(queue.keys.events(key), "not a stream")
    assert await job_queries.events(queue.broker, JobRef(QUEUE, key)) == []
