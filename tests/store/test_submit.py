"""Submitting: what is written, and that the same job twice is one job."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace

from taskserver.domain.durability import Durability
from taskserver.domain.job import ExistingJob, NewJob, State
from taskserver.errors import BrokerDenied, BrokerError, NotReplicated
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin
from taskserver.store.jobs import submit as submitting
from taskserver.store.jobs.submit import BATCH_BYTES, BATCH_JOBS
from taskserver.store.queries import queues
from tests.patience import PATIENCE
from tests.store.harness import LONG_MS, PAYLOAD, QUEUE, Queue, new_job, submit_all, succeed


async def test_a_plain_job_is_a_small_hash_a_message_and_an_entry(queue: Queue) -> None:
    key = await queue.submit()
    assert set(await queue.record(key)) == {b"state", b"entry"}
    assert await queue.redis.get(queue.keys.message(key)) == PAYLOAD
    lane, id_ = await queue.entry(key)
    assert await queue.redis.xrange(queue.keys.lane(lane)) == [(id_.encode(), {b"job": key.encode()})]


async def test_the_queue_is_listed_and_has_groups_without_any_worker(broker: Broker) -> None:
    queue = Queue(broker)
    await queue.submit()
    assert await queues.names(broker) == [QUEUE]
    assert len(await queue.claim()) == 1


@pytest.mark.parametrize("lane", ["high", "normal", "low"])
async def test_a_job_waits_in_its_lane(queue: Queue, lane: str) -> None:
    key = await queue.submit(lane=lane)
    assert (await queue.entry(key))[0] == lane
    assert (await queue.status(key)).lane == lane


async def test_every_option_is_kept(queue: Queue) -> None:
    key = await queue.submit(lane="low", max_attempts=7, delay_ms=LONG_MS, expires_ms=2 * LONG_MS, result_ttl_ms=5_000)
    record = await queue.record(key)
    now = await queue.redis.time()
    assert record[b"lane"], record[b"max"] == (b"low", b"7")
    assert int(record[b"ttl"]) == 5_000
    assert int(record[b"due"]) == pytest.approx(now[0] * 1000 + LONG_MS, abs=2_000)
    assert int(record[b"expires"]) - int(record[b"due"]) == LONG_MS


async def test_a_job_for_later_is_in_no_lane(queue: Queue) -> None:
    key = await queue.submit(delay_ms=LONG_MS)
    assert await queue.state(key) is State.DELAYED
    assert await queue.claim() == []
    assert (await queue.status(key)).due_at == pytest.approx(time.time() + LONG_MS / 1000, abs=5)


async def test_an_instant_in_the_past_means_now(queue: Queue) -> None:
    assert await queue.state(await queue.submit(due_ms=1)) is State.QUEUED
    assert await queue.state(await queue.submit(due_ms=int(time.time() * 1000) + LONG_MS)) is State.DELAYED


async def test_workers_are_told_of_a_job_that_is_due_before_all_others(queue: Queue) -> None:
    async with queue.redis.pubsub() as workers:
        await workers.subscribe(queue.keys.control)
        await workers.get_message(timeout=PATIENCE)
        await queue.submit(expires_ms=LONG_MS)  # nobody is told of this one: it would cost each worker two calls
        await queue.submit(delay_ms=2 * LONG_MS)
        await queue.submit(delay_ms=3 * LONG_MS)
        await queue.submit(delay_ms=LONG_MS)
        for _ in range(2):  # the second job is not the next one, so nobody is told
            message = await workers.get_message(timeout=PATIENCE)
            assert message["data"].startswith(b"due ")
        assert await workers.get_message(timeout=0) is None


async def test_the_same_key_again_is_one_job(queue: Queue) -> None:
    job = new_job()
    assert await submit_all(queue.broker, QUEUE, [job]) == set()
    assert await submit_all(queue.broker, QUEUE, [replace(job, payload=b"other", lane="high")]) == {job.key}
    assert await queue.redis.get(queue.keys.message(job.key)) == PAYLOAD
    assert await queue.entries() == 1


async def test_the_same_key_twice_in_one_batch_is_one_job(queue: Queue) -> None:
    job, other = new_job(), new_job()
    assert await submit_all(queue.broker, QUEUE, [job, other, job]) == {job.key}
    assert await queue.entries() == 2


def keyed(key: str = "k" * 24, **options: Any) -> NewJob:
    return replace(new_job(), **{"key": key, "digest": "d", "call": "first", **options})


async def existing(queue: Queue, *jobs: NewJob) -> dict[str, ExistingJob]:
    return (await submitting.submit(queue.broker, QUEUE, jobs)).existing


async def test_a_submit_that_is_repeated_did_not_find_its_own_job(queue: Queue) -> None:
    assert await existing(queue, keyed()) == await existing(queue, keyed()) == {}
    for digest in "de":
        found = await existing(queue, keyed(call="other", digest=digest))
        assert found == {"other": ExistingJob(State.QUEUED, conflicts=digest == "e")}
    assert await queue.entries() == 1


async def test_a_job_that_runs_again_is_not_begun_twice_when_the_submit_is_repeated(queue: Queue) -> None:
    again = keyed(call="again", on_existing="rerun", payload=b"again")
    await existing(queue, keyed())
    for _ in range(2):
        (job,) = await queue.claim()
        await queue.settle(succeed(job))
        await existing(queue, again)
    assert await queue.state(again.key) is State.SUCCEEDED
    assert await queue.redis.get(queue.keys.message(again.key)) == b"again"


async def test_another_message_does_not_run_in_place_of_the_first(queue: Queue) -> None:
    await existing(queue, keyed())
    await queue.cancel(keyed().key)
    assert (await existing(queue, keyed(call="x", digest="e", on_existing="rerun")))["x"].conflicts
    assert await queue.state(keyed().key) is State.CANCELLED


async def test_an_ended_job_is_left_alone_unless_it_is_to_run_again(queue: Queue) -> None:
    await existing(queue, keyed())
    await queue.cancel(keyed().key)
    assert await existing(queue, keyed(call="x")) == {"x": ExistingJob(State.CANCELLED, conflicts=False)}
    assert await queue.state(keyed().key) is State.CANCELLED


async def test_a_job_that_has_not_ended_does_not_run_again(queue: Queue) -> None:
    await existing(queue, keyed())
    (job,) = await queue.claim()
    assert await existing(queue, keyed(call="x", on_existing="rerun")) == {
        "x": ExistingJob(State.RUNNING, conflicts=False)
    }
    assert await queue.settle(succeed(job)) == []


async def test_records_and_clients_of_earlier_versions_know_no_digest(queue: Queue) -> None:
    plain = replace(new_job(), key=keyed().key)
    assert await existing(queue, plain) == {}
    assert await existing(queue, keyed()) == {"first": ExistingJob(State.QUEUED, conflicts=False)}
    await existing(queue, keyed(key="k" * 23 + "2"))
    assert await existing(queue, replace(plain, key="k" * 23 + "2", lane="high")) == {}


async def test_a_record_that_cannot_be_read_is_known_and_left_alone(queue: Queue) -> None:
    await queue.redis.hset(queue.keys.job(keyed().key), "state", "garbage")
    submitted = await submitting.submit(queue.broker, QUEUE, [keyed(on_existing="rerun")])
    assert submitted == ({keyed().key}, {}, {})


async def test_what_cannot_run_again_keeps_its_message(queue: Queue) -> None:
    await existing(queue, keyed(payload=b"first"))
    await queue.cancel(keyed().key)
    await queue.redis.set(queue.keys.lane("high"), "x")
    await queue.redis.execute_command("ACL SETUSER default -xadd")
    try:
        submitted = await submitting.submit(queue.broker, QUEUE, [keyed(call="x", on_existing="rerun")])
    finally:
        await queue.redis.execute_command("ACL SETUSER default +@all")
    assert set(submitted.failed) == {keyed().key}
    assert await queue.redis.exists(queue.keys.message(keyed().key))


@pytest.mark.parametrize("state", [state for state in State if state is not State.QUEUED])
async def test_a_job_that_has_moved_on_is_still_known(queue: Queue, state: State) -> None:
    held = await queue.make(state)
    assert await submit_all(queue.broker, QUEUE, [replace(new_job(), key=held.key)]) == {held.key}
    assert await queue.state(held.key) is state


async def test_large_calls_go_in_batches_bounded_in_number(queue: Queue) -> None:
    jobs = [new_job() for _ in range(2 * BATCH_JOBS + 1)]
    assert await submit_all(queue.broker, QUEUE, jobs) == set()
    assert await submit_all(queue.broker, QUEUE, jobs) == {job.key for job in jobs}
    assert await queue.entries() == len(jobs)
    assert [job.key for _ in range(3) for job in await queue.claim(slots=BATCH_JOBS)] == [job.key for job in jobs]


def test_batches_are_bounded_in_bytes() -> None:
    third = NewJob("k" * 24, bytes(BATCH_BYTES // 3))
    assert [len(batch) for batch in submitting._batches([third] * 7)] == [3, 3, 1]


async def test_a_message_larger_than_a_batch_goes_alone(queue: Queue) -> None:
    jobs = [new_job(), replace(new_job(), payload=bytes(BATCH_BYTES + 1)), new_job()]
    await submit_all(queue.broker, QUEUE, jobs)
    claimed = [job for _ in jobs for job in await queue.claim()]
    assert [len(job.payload) for job in claimed] == [len(PAYLOAD), BATCH_BYTES + 1, len(PAYLOAD)]


@pytest.mark.parametrize(("durability", "others"), [("memory", None), ("replicas=1", NotReplicated)])
async def test_a_job_that_cannot_be_written_takes_no_other_along(
    queue: Queue, durability: str, others: type[BrokerError] | None
) -> None:
    """Here because the user has no right to write sorted sets."""
    await queue.submit()
    await queue.redis.execute_command("ACL SETUSER hasty reset on >right ~* &* +@all -zadd")
    url = queue.broker.url.replace("unix://", "unix://hasty:right@")
    broker = Broker(url, durability=Durability.parse(durability))
    jobs = [new_job(), new_job(delay_ms=LONG_MS), new_job(), new_job(expires_ms=LONG_MS)]
    try:
        submitted = await submitting.submit(broker, QUEUE, jobs)
    finally:
        await broker.close()
        await queue.redis.execute_command("ACL DELUSER hasty")
    refused = [jobs[1], jobs[3]]
    expected = [BrokerDenied if job in refused else others for job in jobs]
    assert [type(submitted.failed[job.key]) if job.key in submitted.failed else None for job in jobs] == expected
    assert [await queue.state(job.key) for job in jobs if job not in refused] == [State.QUEUED] * 2
    for job in refused:
        assert await queue.redis.keys(f"*{job.key}*") == []


async def test_no_jobs_are_no_call(queue: Queue) -> None:
    assert await submit_all(queue.broker, QUEUE, []) == set()


async def test_a_paused_queue_takes_jobs(queue: Queue) -> None:
    await admin.pause(queue.broker, QUEUE)
    assert await queue.state(await queue.submit()) is State.QUEUED
