"""Keys: Python and Lua name them alike, and only what must live for ever has no time to live."""

from __future__ import annotations

import re

from taskserver.domain.job import State
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.settlement import Defer, DeferLimits
from taskserver.store.jobs import admin
from taskserver.store.keys import QUEUES, SCHEMA, Keys
from tests.architecture.package import LUA
from tests.leaks import leaked
from tests.store.harness import LARGE_ERROR, LARGE_RESULT, LONG_MS, Queue, fail, release, retry, says, succeed

OWN = {"delayed", "expiring", "dead", "meta", *(f"lane:{lane}" for lane in (RETURNED, *LANES))}
KEY = "0123456789abcdefghijklmn"


async def end_jobs_in_every_way(queue: Queue) -> None:
    for state in State:
        if state.ended:
            await queue.make(state)
    for state in (State.QUEUED, State.DELAYED, State.WAITING):
        await queue.cancel((await queue.make(state)).key)
    for large in (LARGE_ERROR, LARGE_RESULT):
        job = await queue.running(expires_ms=LONG_MS)
        await queue.report(says(job, 1, "half", 0.5))
        await queue.settle(retry(job, LARGE_ERROR))
        await queue.ripen(job.key)
        await queue.promote()
        (job,) = await queue.claim()
        await queue.settle(succeed(job, large))
    for settlement in (retry, release):
        job = await queue.running()
        await queue.cancel(job.key)
        await queue.settle(settlement(job))
    job = await queue.running()
    await queue.settle(Defer(job.key, job.fence, LARGE_ERROR))
    await queue.cancel(job.key)
    job = await queue.running()
    await queue.settle(Defer(job.key, job.fence, LARGE_ERROR), patience=DeferLimits(total_ms=0))
    job = await queue.running(max_attempts=1)
    await queue.reclaim()
    await queue.claim()
    job = await queue.running()
    await queue.settle(fail(job, State.DEAD, LARGE_ERROR))
    await queue.requeue(job.key)
    (job,) = await queue.claim()
    await queue.settle(succeed(job))
    await queue.submit()
    await queue.submit(delay_ms=LONG_MS)
    await admin.purge(queue.broker, queue.keys.queue)
    await admin.pause(queue.broker, queue.keys.queue)


async def keys_without_end(queue: Queue) -> set[str]:
    found = set()
    async for name in queue.redis.scan_iter(count=1_000):
        if await queue.ttl(name) == -1:
            found.add(name.decode())
    return found


async def test_no_ended_job_leaves_a_key_without_a_time_to_live(queue: Queue) -> None:
    await end_jobs_in_every_way(queue)
    await queue.renew()
    assert await keys_without_end(queue) <= {QUEUES, SCHEMA} | {queue.keys.prefix + name for name in OWN}
    assert await queue.entries() == 0


async def test_only_hash_and_message_of_a_live_job_have_none(queue: Queue) -> None:
    await end_jobs_in_every_way(queue)
    await admin.resume(queue.broker, queue.keys.queue)
    live = [await queue.make(state) for state in (State.WAITING, State.RUNNING, State.DELAYED)]
    job = await queue.running()
    await queue.report(says(job, 1, "words"))
    await queue.settle(retry(job, LARGE_ERROR))
    allowed = {QUEUES, SCHEMA} | {queue.keys.prefix + name for name in OWN}
    for key in (job.key, *(held.key for held in live)):
        allowed |= {queue.keys.job(key), queue.keys.message(key)}
        assert await queue.ttl(queue.keys.job(key)) == await queue.ttl(queue.keys.message(key)) == -1
    assert await keys_without_end(queue) <= allowed


def named_by_python(keys: Keys, key: str) -> set[str]:
    per_job = (keys.job, keys.message, keys.outcome, keys.events, keys.history)
    return {
        *(builder(key) for builder in per_job),
        *(keys.lane(lane) for lane in (RETURNED, *LANES)),
        *(keys.delayed, keys.expiring, keys.dead, keys.meta, keys.reclaimer, keys.worker("w1"), keys.answer("")),
        *(QUEUES, SCHEMA),
    }


async def test_every_key_that_the_scripts_write_has_a_builder(queue: Queue) -> None:
    await end_jobs_in_every_way(queue)
    await queue.renew(worker="w1")
    await queue.submit(delay_ms=LONG_MS, expires_ms=LONG_MS)
    names = {name.decode() async for name in queue.redis.scan_iter(count=1_000)}
    names = {re.sub(r":answer:\w{16}$", ":answer:", name) for name in names}
    jobs = {name.rpartition(":")[2] for name in names if name.startswith(queue.keys.job(""))}
    assert names <= set().union(*(named_by_python(queue.keys, key) for key in jobs))
    kinds = {re.sub(r":[^:]{24}$", "", name) for name in names}
    assert kinds >= {re.sub(r":[^:]{24}$", "", name) for name in named_by_python(queue.keys, KEY)}


async def test_both_name_the_same_keys(queue: Queue) -> None:
    """The prelude's builders, asked one by one."""
    ask = (
        (LUA / "prelude" / "keys.lua").read_text("utf-8")
        + """
      local k = ARGV[1]
      return { job_key(k), message_key(k), outcome_key(k), events_key(k), history_key(k), DELAYED, EXPIRING, DEAD, META,
        lane_key(LANES[1]), lane_key(LANES[2]), lane_key(LANES[3]), lane_key(LANES[4]) }"""
    )
    keys = queue.keys
    answer = [name.decode() for name in await queue.redis.eval(ask, 1, keys.prefix, KEY)]
    assert answer == [
        *(builder(KEY) for builder in (keys.job, keys.message, keys.outcome, keys.events, keys.history)),
        *(keys.delayed, keys.expiring, keys.dead, keys.meta),
        *(keys.lane(lane) for lane in (RETURNED, *LANES)),
    ]


def test_all_keys_of_a_queue_share_one_slot_of_a_cluster() -> None:
    for name in named_by_python(Keys("some.queue"), KEY) - {QUEUES, SCHEMA}:
        assert name.startswith("ts:{some.queue}:")


async def test_the_check_for_leaks_finds_one(queue: Queue, broker_url: str) -> None:
    """It watches over the fundamentals' tests (tests/fundamentals/conftest.py)."""
    await queue.make(State.RUNNING)
    held = await queue.make(State.SUCCEEDED)
    assert leaked(broker_url) == []
    await queue.redis.persist(queue.keys.message(held.key))
    await queue.redis.set(queue.keys.outcome("x"), "orphan")
    assert leaked(broker_url) == sorted([queue.keys.message(held.key), queue.keys.outcome("x")])
