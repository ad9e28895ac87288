"""Somebody has put keys of another type where ours belong: they are replaced, and nothing is lost or stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from taskserver.domain.ids import JobRef
from taskserver.domain.job import State
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.jobs import recover
from taskserver.store.jobs.claim import BlockingReader
from taskserver.store.keys import GROUP, SCHEMA
from taskserver.store.maintenance import audit
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries import queues
from taskserver.store.queries.outcomes import read_outcomes
from tests.store.harness import (
    LARGE_ERROR,
    LONG_MS,
    QUEUE,
    SMALL_RESULT,
    Queue,
    fail,
    retry,
    says,
    succeed,
)
from tests.store.test_repair_jobs import audit_stranded

DENIED = "can't (run|access)|[Nn]o permission"
LAST_ID = "18446744073709551615-18446744073709551615"


async def works(queue: Queue) -> None:
    """A job goes through the queue, by way of a retry and a lost lease."""
    job = await queue.running(expires_ms=LONG_MS)
    await queue.report(says(job, 1, "words", 0.5))
    assert await queue.renew(job) == {}
    assert await queue.settle(retry(job, LARGE_ERROR)) == []
    await queue.ripen(job.key)
    assert await queue.promote() == 1
    (job,) = await queue.claim()
    assert await queue.reclaim() == {job.key: "w1"}
    (job,) = await queue.claim()
    assert await queue.settle(succeed(job)) == []
    assert await queue.outcome(job.key) == (State.SUCCEEDED, SMALL_RESULT)
    dead = await queue.running()
    assert await queue.settle(fail(dead, State.DEAD)) == []
    assert await queue.redis.zrange(queue.keys.dead, -1, -1) == [dead.key.encode()]


# Keys of the wrong type


@pytest.mark.parametrize("name", ["delayed", "expiring", "dead", "meta", "sweeper", "janitor"])
async def test_a_structure_of_the_wrong_type_is_made_anew(queue: Queue, name: str) -> None:
    delayed = await queue.submit(delay_ms=LONG_MS, expires_ms=LONG_MS)
    dead = await queue.make(State.DEAD)
    key = queue.keys.prefix + name
    await queue.redis.unlink(key)
    await (queue.redis.hset(key, "x", "x") if name in ("sweeper", "janitor") else queue.redis.set(key, "x"))
    await audit_stranded(queue)
    await audit.take_turn(queue.broker, QUEUE, "w1", LONG_MS)
    await audit.remove_gone_workers(queue.broker, QUEUE)
    assert (await queues.info(queue.broker, QUEUE)).delayed == 1
    assert await queue.redis.zrange(queue.keys.dead, 0, -1) == [dead.key.encode()]
    await works(queue)
    await queue.outdate(delayed)
    assert await queue.expire() == 1


@pytest.mark.parametrize("lane", [RETURNED, *LANES])
async def test_a_lane_of_the_wrong_type_is_made_anew_and_its_jobs_are_found(queue: Queue, lane: str) -> None:
    running = await queue.running(lane=lane if lane in LANES else "normal")
    waiting = await queue.submit(lane=lane if lane in LANES else "normal")
    await queue.redis.unlink(queue.keys.lane(lane))
    await queue.redis.set(queue.keys.lane(lane), "x")
    assert await queue.settle(succeed(running)) == []
    await queue.broker.prepare(QUEUE, again=True)
    await audit_stranded(queue)
    assert [job.key for job in await queue.claim()] == [waiting]


async def test_a_submit_into_a_lane_of_the_wrong_type_is_taken(queue: Queue) -> None:
    await queue.redis.unlink(queue.keys.lane("normal"))
    await queue.redis.set(queue.keys.lane("normal"), "x")
    key = await queue.submit()
    assert [job.key for job in await queue.claim()] == [key]


async def test_a_stream_that_takes_no_more_entries_is_made_anew(queue: Queue) -> None:
    await queue.redis.xadd(queue.keys.lane("normal"), {"job": "last"}, id=LAST_ID)
    key = await queue.submit()
    assert [job.key for job in await queue.claim()] == [key]


async def test_a_claim_finds_a_lane_of_the_wrong_type(queue: Queue) -> None:
    key = await queue.submit(lane="high")
    await queue.redis.unlink(queue.keys.lane("low"))
    await queue.redis.set(queue.keys.lane("low"), "x")
    assert [job.key for job in await queue.claim(slots=2)] in ([key], [])  # the second, if it found it half-way
    assert await queue.redis.type(queue.keys.lane("low")) == b"stream"


async def test_a_worker_starts_where_a_lane_is_of_the_wrong_type(queue: Queue) -> None:
    await queue.redis.unlink(queue.keys.lane("low"))
    await queue.redis.set(queue.keys.lane("low"), "x")
    await queue.broker.prepare(QUEUE, again=True)
    assert await queue.redis.type(queue.keys.lane("low")) == b"stream"


@pytest.mark.parametrize("name", ["out", "events", "history"])
async def test_what_is_kept_of_a_job_is_made_anew(queue: Queue, name: str) -> None:
    job = await queue.running()
    key = f"{queue.keys.prefix}{name}:{job.key}"
    await (queue.redis.hset(key, "x", "x") if name == "out" else queue.redis.set(key, "x"))
    await queue.report(says(job, 1, "words"))
    assert await queue.settle(fail(job, State.DEAD, LARGE_ERROR)) == []
    status = await queue.status(job.key)
    assert status.error is not None
    assert [line.event for line in status.history] == ["dead"]
    assert [event.text for event in await job_queries.events(queue.broker, JobRef(QUEUE, job.key))] == ["words"]


async def test_a_lost_job_whose_history_was_overwritten_does_not_hold_the_reclaimer_up(queue: Queue) -> None:
    broken, sound = await queue.running(), await queue.running()
    await queue.redis.set(queue.keys.history(broken.key), "x")
    assert set(await queue.reclaim()) == {broken.key, sound.key}


async def test_an_outcome_that_was_overwritten_hides_no_other(queue: Queue) -> None:
    job, sound = await queue.running(), await queue.running()
    await queue.settle(fail(job, State.FAILED, LARGE_ERROR), succeed(sound))
    await queue.redis.unlink(queue.keys.outcome(job.key))
    await queue.redis.hset(queue.keys.outcome(job.key), "x", "x")
    assert await read_outcomes(queue.broker, QUEUE, [job.key, sound.key]) == [
        (State.FAILED, b""),
        (State.SUCCEEDED, SMALL_RESULT),
    ]


async def test_output_that_was_overwritten_reads_as_none(queue: Queue) -> None:
    job = await queue.running()
    await queue.redis.set(queue.keys.events(job.key), "x")
    assert await job_queries.events(queue.broker, JobRef(QUEUE, job.key)) == []


async def test_a_lock_without_an_end_is_nobodys(queue: Queue) -> None:
    await queue.redis.mset({queue.keys.reclaimer: "nobody", queue.keys.janitor: "nobody"})
    assert await recover.reclaim(queue.broker, QUEUE, "w1", LONG_MS) == (True, LONG_MS + 1, [])
    assert await audit.take_turn(queue.broker, QUEUE, "w1", LONG_MS)


async def test_a_lock_of_the_wrong_type_is_nobodys(queue: Queue) -> None:
    await queue.redis.rpush(queue.keys.janitor, "x")
    await queue.redis.pexpire(queue.keys.janitor, LONG_MS)
    assert await audit.take_turn(queue.broker, QUEUE, "w1", LONG_MS)


# Errors that are no "wrong type" are raised


@asynccontextmanager
async def a_guest(queue: Queue, *rules: str) -> AsyncIterator[Queue]:
    """The same queue for a user that may do everything but what the ACL ``rules`` take away."""
    await queue.redis.execute_command("ACL", "SETUSER", "guest", "on", ">secret", "~*", "&*", "+@all", *rules)
    parts = urlsplit(queue.broker.url)
    address = parts.netloc.rpartition("@")[2]
    broker = Broker(f"{parts.scheme}://guest:secret@{address}{parts.path}", patience=0.2)
    try:
        yield Queue(broker)
    finally:
        await broker.close()
        await queue.redis.execute_command("ACL", "DELUSER", "guest")


async def test_a_record_that_may_not_be_read_loses_no_job(queue: Queue) -> None:
    key = await queue.submit()
    keys = queue.keys
    readable = [f"~{name}" for name in (SCHEMA, keys.prefix, keys.lane("*"), keys.meta)]
    async with a_guest(queue, "resetkeys", *readable) as guest:
        with pytest.raises(BrokerError, match=DENIED):
            await guest.claim()
    assert await queue.reclaim() == {key: ""}
    assert [job.key for job in await queue.claim()] == [key]


async def test_a_message_that_may_not_be_read_loses_no_job(queue: Queue) -> None:
    key = await queue.submit()
    keys = queue.keys
    readable = [f"~{SCHEMA}", f"~{keys.prefix}", f"~{keys.prefix}[^m]*", f"~{keys.meta}"]
    async with a_guest(queue, "resetkeys", *readable) as guest:
        with pytest.raises(BrokerError, match=DENIED):
            await guest.claim()
    assert await queue.state(key) is State.QUEUED


async def test_a_lane_that_may_not_be_read_wakes_nobody(queue: Queue) -> None:
    key = await queue.submit()
    async with a_guest(queue, "-xrange") as guest:
        with pytest.raises(BrokerError, match=DENIED):
            await guest.broker.run("repair_jobs", QUEUE, key)
    assert await queue.entries() == 1


async def test_a_stream_that_may_not_be_read_is_not_deleted(queue: Queue) -> None:
    key = (await queue.running()).key
    assert set(await queue.reclaim()) == {key}  # it waits in the first lane that is read
    async with a_guest(queue, "-xreadgroup") as guest:
        with pytest.raises(BrokerError, match=DENIED):
            await guest.claim()
    assert [job.key for job in await queue.claim()] == [key]


async def test_groups_that_may_not_be_made_are_reported(queue: Queue) -> None:
    async with a_guest(queue, "-xgroup") as guest:
        with pytest.raises(BrokerError, match=DENIED):
            await guest.broker.prepare(QUEUE, again=True)


async def test_a_missing_group_loses_no_job(queue: Queue) -> None:
    key = await queue.submit()
    await queue.destroy_groups()
    with pytest.raises(GroupMissing):
        await BlockingReader(queue.broker, QUEUE, "w1").read()
    assert [job.key for job in await queue.claim()] == [key]


async def test_the_janitor_raises_where_a_group_is_missing_and_repairs_once_it_is_there(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.xgroup_destroy(queue.keys.lane("normal"), GROUP)
    assert await audit_stranded(queue) == []
    assert [job.key for job in await queue.claim()] == [key]


# What people do


async def test_a_requeue_finds_the_dead_letters_of_the_wrong_type(queue: Queue) -> None:
    job = await queue.make(State.DEAD)
    await overwrite(queue, queue.keys.dead)
    assert await queue.requeue(job.key) == [""]


async def test_a_deletion_finds_the_dead_letters_of_the_wrong_type(queue: Queue) -> None:
    await overwrite(queue, queue.keys.dead)
    assert await queue.broker.run("delete_dead", QUEUE, "call", "gone" * 6) == 0


async def test_a_purge_finds_the_delay_set_of_the_wrong_type(queue: Queue) -> None:
    await overwrite(queue, queue.keys.delayed)
    assert await queue.broker.run("purge", QUEUE, "call", 10) == [0, 0]


async def test_an_answer_of_the_wrong_type_is_none(queue: Queue) -> None:
    await overwrite(queue, f"{queue.keys.prefix}answer:call")
    assert await queue.broker.run("purge", QUEUE, "call", 10) == [0, 0]


async def test_reclaiming_finds_the_settings_of_the_wrong_type(queue: Queue) -> None:
    job = await queue.running()
    await overwrite(queue, queue.keys.meta)
    assert list(await queue.reclaim()) == [job.key]


async def test_a_text_of_the_wrong_type_hides_no_other(queue: Queue) -> None:
    broken, sound = await queue.make(State.SUCCEEDED), await queue.make(State.SUCCEEDED)
    await queue.redis.hdel(queue.keys.job(broken.key), "data")
    for name in (queue.keys.outcome(broken.key), queue.keys.message(broken.key)):
        await queue.redis.unlink(name)
        await queue.redis.rpush(name, "x")
    keys, data = (broken.key, sound.key), await queue.field(sound.key, "data")
    assert await queue.broker.run("outcomes", QUEUE, *keys) == [b"succeeded", b"", b"succeeded", data]
    message = await queue.redis.get(queue.keys.message(sound.key))
    assert await queue.broker.run("messages", QUEUE, *keys) == [b"", message]


async def overwrite(queue: Queue, name: str) -> None:
    await queue.redis.unlink(name)
    await queue.redis.set(name, "x")
