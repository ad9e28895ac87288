"""Reporting: progress and output of running attempts, in order, once, and only from the newest attempt."""

from __future__ import annotations

import pytest

from taskserver import ConfigError
from taskserver.domain.events import START, EventKind
from taskserver.domain.ids import JobRef
from taskserver.domain.job import ClaimedJob, State
from taskserver.store.queries import jobs as job_queries
from tests.patience import PATIENCE
from tests.store.harness import QUEUE, Queue, retry, says, succeed

DAY_MS = 86_400_000


async def texts(queue: Queue, key: str, after: str = "0") -> list[str]:
    return [str(event) for event in await job_queries.events(queue.broker, JobRef(QUEUE, key), after)]


async def test_reports_become_events(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(says(job, 1, "downloading", 0.25), says(job, 2, "chapter one"))
    progress, output = await job_queries.events(queue.broker, JobRef(QUEUE, job.key))
    assert (progress.kind, progress.text, progress.progress) == (EventKind.PROGRESS, "downloading", 0.25)
    assert (output.kind, output.text, output.progress) == (EventKind.OUTPUT, "chapter one", None)
    assert progress.attempt == output.attempt == 1
    assert progress.at <= output.at
    status = await queue.status(job.key)
    assert (status.progress, status.progress_text) == (0.25, "downloading")


async def test_events_go_on_behind_a_cursor(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(*(says(job, n, f"piece {n}") for n in range(1, 5)))
    second = (await job_queries.events(queue.broker, JobRef(QUEUE, job.key)))[1]
    assert await texts(queue, job.key, second.cursor) == ["piece 3", "piece 4"]


async def test_a_repeated_report_is_not_stored_twice(queue: Queue) -> None:
    job = await queue.running()
    first, second, third = (says(job, n, f"piece {n}") for n in (1, 2, 10))
    await queue.report(first, second)
    await queue.report(first, second, third)
    assert await texts(queue, job.key) == ["piece 1", "piece 2", "piece 10"]


async def test_the_next_attempt_counts_from_one_again(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(says(job, 7, "first attempt"))
    await queue.settle(retry(job))
    await queue.ripen(job.key)
    await queue.promote()
    (again,) = await queue.claim()
    await queue.report(says(again, 1, "second attempt"))
    events = await job_queries.events(queue.broker, JobRef(QUEUE, job.key))
    assert [(event.attempt, event.text) for event in events] == [(1, "first attempt"), (2, "second attempt")]


async def test_nobody_reports_for_a_job_that_has_ended_or_is_gone(queue: Queue) -> None:
    job, gone = await queue.running(), await queue.running()
    await queue.settle(succeed(job))
    await queue.redis.unlink(queue.keys.job(gone.key))
    await queue.report(says(job, 1, "late"), says(gone, 1, "late"))
    assert await queue.redis.exists(queue.keys.events(job.key), queue.keys.events(gone.key)) == 0
    assert not await queue.redis.exists(queue.keys.job(gone.key))
    assert await queue.state(job.key) is State.SUCCEEDED


async def test_events_do_not_outlive_a_live_job_for_ever(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(says(job, 1, "words"))
    assert 29 * DAY_MS < await queue.ttl(queue.keys.events(job.key)) <= 30 * DAY_MS


async def test_the_oldest_events_of_a_talkative_job_are_trimmed(queue: Queue) -> None:
    job = await queue.running()
    for start in range(0, 5_000, 1_000):
        await queue.report(*(says(job, start + n, "x") for n in range(1, 1_001)))
    assert 2_000 <= await queue.redis.xlen(queue.keys.events(job.key)) < 2_500


async def test_followers_are_told(queue: Queue) -> None:
    job = await queue.running()
    async with queue.redis.pubsub() as client:
        await client.subscribe(queue.keys.done("000000"))
        await client.get_message(timeout=PATIENCE)
        await queue.report(says(job, 1, "words"))
        assert (await client.get_message(timeout=PATIENCE))["data"].decode() == f"e{job.key}"


async def report_many(queue: Queue, job: ClaimedJob, first: int, last: int) -> None:
    for start in range(first, last + 1, 500):
        await queue.report(*(says(job, n, f"{n} ") for n in range(start, min(start + 500, last + 1))))


async def test_what_a_reader_has_missed_is_a_gap_which_is_found_once(queue: Queue) -> None:
    job = await queue.running()
    ref = JobRef(QUEUE, job.key)
    await report_many(queue, job, 1, 10)
    third = (await job_queries.events(queue.broker, ref))[2]
    await report_many(queue, job, 11, 5_000)
    kept = int((await queue.redis.xrange(queue.keys.events(job.key), count=1))[0][1][b"report"].split(b" ")[0][-4:])
    for after, missing in ((START, kept - 1), (third.cursor, kept - 4)):
        gap, first, second, *_ = await job_queries.events(queue.broker, ref, after)
        assert (gap.kind, gap.missing) == (EventKind.GAP, missing)
        assert str(gap) == f"[{missing:,} events are missing here]\n"
        assert (first.text, second.text) == (f"{kept} ", f"{kept + 1} ")
        assert {event.kind for event in (first, second)} == {EventKind.OUTPUT}
        assert (await job_queries.events(queue.broker, ref, gap.cursor))[0] == first
        assert (await job_queries.events(queue.broker, ref, first.cursor))[0] == second


async def test_events_go_on_after_the_clock_went_back(queue: Queue) -> None:
    job = await queue.running()
    await queue.report(says(job, 1, "one"))
    (only,) = await job_queries.events(queue.broker, JobRef(QUEUE, job.key))
    milliseconds, _, sequence = only.cursor.partition("-")
    later = f"{int(milliseconds) + DAY_MS}-{sequence}"
    name = queue.keys.events(job.key)
    await queue.redis.xadd(name, {"attempt": 1, "report": b"\x93\xa6output\xa3two\xc0"}, id=later)
    await queue.report(says(job, 2, "three"), says(job, 3, "four"))
    assert await texts(queue, job.key) == ["one", "two", "three", "four"]
    assert await texts(queue, job.key, later) == ["three", "four"]


async def test_events_of_workers_of_earlier_versions_are_read_without_gaps(queue: Queue) -> None:
    job = await queue.running()
    name = queue.keys.events(job.key)
    for text in (b"one", b"two"):
        await queue.redis.xadd(name, {"attempt": 1, "report": b"\x93\xa6output\xa3" + text + b"\xc0"})
    (_, second) = await job_queries.events(queue.broker, JobRef(QUEUE, job.key))
    await queue.redis.hset(queue.keys.job(job.key), "said", f"{job.fence} 2")
    await queue.report(says(job, 3, "three"))
    assert await texts(queue, job.key) == ["one", "two", "three"]
    assert await texts(queue, job.key, second.cursor) == ["three"]


ODD = ["-1", "", "abc", "$", "+", "-", "(0", "1.5", "None", "5", " 0", "1-", "-1-1", "1-1-1", f"{'9' * 20}-0", "1-²"]


@pytest.mark.parametrize("cursor", ODD)
async def test_what_is_not_a_cursor_is_refused_before_the_broker_sees_it(queue: Queue, cursor: str) -> None:
    with pytest.raises(ConfigError, match="is not a cursor: use the cursor of an event of this job, or '0'"):
        await texts(queue, (await queue.running()).key, cursor)


async def test_a_cursor_of_another_job_is_refused(queue: Queue) -> None:
    one, other = await queue.running(), await queue.running()
    await queue.report(says(one, 1, "x"))
    (event,) = await job_queries.events(queue.broker, JobRef(QUEUE, one.key))
    with pytest.raises(ConfigError, match=f"is one of another job, not of q-{other.key}"):
        await texts(queue, other.key, event.cursor)
