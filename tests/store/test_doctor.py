"""Every kind of damage to a queue: the doctor reports it, then repairs it, and the jobs run.

The janitor of any worker makes the same audit (``store/maintenance/audit.py``), so this is what it repairs, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskserver.domain.job import State
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.keys import PARTITIONS, QUEUES, SCHEMA
from taskserver.store.maintenance import doctor, partitioning, registry
from taskserver.store.maintenance.damage import DESCRIPTIONS, Damage
from taskserver.store.queries import partitions
from tests.store.harness import LARGE_ERROR, LONG_MS, QUEUE, Queue, fail, retry, says, succeed

DAY_MS = 86_400_000


def quietly(*_: object) -> None:
    """Nobody watches the progress."""


async def findings(queue: Queue) -> list[str]:
    """What the doctor finds in the queue, but for the line of its counts."""
    found = await doctor.examine_queue(queue.broker, QUEUE, quietly)
    return [f"{finding.level}: {finding.text}" for finding in found if finding.level != "ok"]


async def repaired(queue: Queue) -> list[str]:
    done = await doctor.repair_queue(queue.broker, QUEUE, quietly)
    assert {finding.level for finding in done} <= {"repaired"}
    return [finding.text for finding in done]


async def everything(queue: Queue) -> dict[bytes, tuple[Any, ...]]:
    """All keys, with their types and whether they have an end; OBJECT and TTL would differ by the clock alone."""
    names = sorted([name async for name in queue.redis.scan_iter(count=1_000)])
    return {name: (await queue.redis.type(name), await queue.ttl(name) < 0, await dump(queue, name)) for name in names}


async def dump(queue: Queue, name: bytes) -> Any:
    return await queue.redis.dump(name)


# The damage. Each gets a queue with a waiting job, and returns what the doctor reports.


async def stream_deleted(queue: Queue, key: str) -> str:
    await queue.redis.delete(queue.keys.lane("normal"))
    await queue.broker.prepare(QUEUE, again=True)
    return f"error: 1 job that nothing would wake, end or list: {key}"


async def entry_deleted(queue: Queue, key: str) -> str:
    await queue.delete_entry(key)
    return f"error: 1 job that nothing would wake, end or list: {key}"


async def groups_destroyed(queue: Queue, key: str) -> str:
    await queue.destroy_groups()
    return "error: 4 lanes without a stream or consumer group: returned, high, normal …"


async def lane_overwritten(queue: Queue, key: str) -> str:
    await queue.redis.set(queue.keys.lane("normal"), "what is this")
    return "error: 1 key of the wrong type or unreadable: lane:normal"


async def meta_overwritten(queue: Queue, key: str) -> str:
    await queue.redis.set(queue.keys.meta, "what is this")
    return "error: 1 key of the wrong type or unreadable: meta"


async def sets_overwritten(queue: Queue, key: str) -> str:
    for name in (queue.keys.delayed, queue.keys.expiring, queue.keys.dead):
        await queue.redis.set(name, "what is this")
    return "error: 3 keys of the wrong type or unreadable: dead, delayed, expiring"


async def live_record_ends(queue: Queue, key: str) -> str:
    await queue.redis.expire(queue.keys.job(key), 1000)
    await queue.redis.expire(queue.keys.message(key), 1000)
    return "error: 2 keys of live jobs that would expire: "


async def members_without_jobs(queue: Queue, key: str) -> str:
    for name in (queue.keys.delayed, queue.keys.expiring, queue.keys.dead):
        await queue.redis.zadd(name, {"0" * 24: 9e15})
    return "warning: 3 members of a set of jobs without such a job: "


async def members_of_jobs_in_other_states(queue: Queue, key: str) -> str:
    await queue.redis.zadd(queue.keys.dead, {key: 1})
    return f"warning: 1 member of a set of jobs without such a job: dead: {key}"


async def strange_entries(queue: Queue, key: str) -> str:
    lane = queue.keys.lane("low")
    await queue.redis.xadd(lane, {"job": "0" * 24})
    await queue.redis.xadd(lane, {"job": key})
    await queue.redis.xadd(lane, {b"\xff": b"\xfe"})
    return "warning: 3 stream entries without a job: low: "


async def orphans(queue: Queue, key: str) -> str:
    gone = await queue.submit(delay_ms=LONG_MS)
    await queue.redis.delete(queue.keys.job(gone))
    await queue.redis.zrem(queue.keys.delayed, gone)
    await queue.redis.set(queue.keys.outcome("1" * 24), "old")
    return "warning: 2 keys left of jobs whose record is gone: "


async def locks_without_end(queue: Queue, key: str) -> str:
    for name in (queue.keys.reclaimer, queue.keys.janitor):
        await queue.redis.set(name, "a worker that died long ago")
    return "warning: 2 keys without a time to live: "


async def consumers_of_the_dead(queue: Queue, key: str) -> str:
    await queue.redis.xgroup_createconsumer(queue.keys.lane("high"), "workers", "gone")
    return "warning: 1 consumer of workers that are gone: gone"


DAMAGE: list[Callable[[Queue, str], Awaitable[str]]] = [
    stream_deleted, entry_deleted, groups_destroyed, lane_overwritten, meta_overwritten, sets_overwritten,
    live_record_ends, members_without_jobs, members_of_jobs_in_other_states, strange_entries, orphans,
    locks_without_end, consumers_of_the_dead,
]  # fmt: skip


async def waiting_job(queue: Queue) -> str:
    await queue.renew(worker="w1")
    return await queue.submit()


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
async def test_damage_is_reported_and_repaired_and_the_job_runs(
    queue: Queue, damage: Callable[[Queue, str], Awaitable[str]]
) -> None:
    key = await waiting_job(queue)
    assert await findings(queue) == []
    expected = await damage(queue, key)
    before = await everything(queue)
    assert [line for line in await findings(queue) if line.startswith(expected)], await findings(queue)
    assert await everything(queue) == before, "looking changes nothing"
    assert await repaired(queue) != []
    assert await findings(queue) == []
    assert await repaired(queue) == []
    (job,) = await queue.claim(worker="w1")
    assert job.key == key
    assert await queue.settle(succeed(job)) == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_a_healthy_queue_with_jobs_in_every_state_lacks_nothing(queue: Queue) -> None:
    job = await queue.running(expires_ms=LONG_MS)
    await queue.report(says(job, 1, "half", 0.5))
    await queue.settle(retry(job, LARGE_ERROR, delay_ms=LONG_MS))
    for state in sorted(State, key=lambda state: state is State.QUEUED):  # it comes last: others claim what is queued
        await queue.make(state)
    await queue.renew(worker="w1")
    assert await findings(queue) == ["warning: 1 dead letter"]
    before = await everything(queue)
    assert await repaired(queue) == []
    assert await everything(queue) == before


# What is set aside is not lost.


async def test_what_is_of_the_wrong_type_is_set_aside_with_an_end(queue: Queue) -> None:
    await waiting_job(queue)
    await queue.redis.set(queue.keys.lane("high"), "precious")
    await repaired(queue)
    (aside,) = [name async for name in queue.redis.scan_iter(match=queue.keys.prefix + "broken:lane:high:*")]
    assert await queue.redis.get(aside) == b"precious"
    assert 29 * DAY_MS < await queue.ttl(aside) <= 30 * DAY_MS


async def test_orphans_get_a_day(queue: Queue) -> None:
    key = await waiting_job(queue)
    await queue.redis.delete(queue.keys.job(key))
    await repaired(queue)
    assert 0 < await queue.ttl(queue.keys.message(key)) <= DAY_MS


async def test_priorities_and_times_survive_the_loss_of_all_structures(queue: Queue) -> None:
    await queue.renew(worker="w1")
    low, high = await queue.submit(lane="low"), await queue.submit(lane="high")
    later = await queue.submit(delay_ms=LONG_MS)
    due = await queue.redis.zscore(queue.keys.delayed, later)
    for name in (*(queue.keys.lane(lane) for lane in (RETURNED, *LANES)), queue.keys.delayed):
        await queue.redis.set(name, "what is this")
    await repaired(queue)
    assert [job.key for job in await queue.claim(2)] == [high, low]
    assert await queue.redis.zscore(queue.keys.delayed, later) == due


# Times to live.


@pytest.mark.parametrize("state", [state for state in State if state.ended])
async def test_an_ended_job_whose_time_to_live_was_removed_gets_it_back(queue: Queue, state: State) -> None:
    await queue.renew(worker="w1")
    held = await queue.make(state)
    names = [queue.keys.job(held.key), queue.keys.message(held.key)]
    before = [await queue.ttl(name) for name in names]
    for name in names:
        assert await queue.redis.persist(name)
    assert "warning: 2 keys without a time to live: " in "".join(await findings(queue))
    await repaired(queue)
    for name, ttl in zip(names, before, strict=True):
        assert ttl - 60_000 < await queue.ttl(name) < ttl + 60_000


async def test_it_gets_the_one_that_its_submitter_asked_for(queue: Queue) -> None:
    job = await queue.running(result_ttl_ms=5_000)
    await queue.report(says(job, 1, "words"))
    await queue.settle(succeed(job, LARGE_ERROR))
    kinds = (queue.keys.job, queue.keys.message, queue.keys.outcome, queue.keys.events)
    names = [name(job.key) for name in kinds]
    for name in names:
        assert await queue.redis.persist(name)
    await repaired(queue)
    assert all([0 < await queue.ttl(name) <= 5_000 for name in names])


async def test_a_live_jobs_side_keys_get_theirs_back(queue: Queue) -> None:
    await queue.renew(worker="w1")
    job = await queue.running()
    await queue.report(says(job, 1, "words"))
    await queue.settle(retry(job, LARGE_ERROR, delay_ms=LONG_MS))
    names = [queue.keys.events(job.key), queue.keys.history(job.key), queue.keys.outcome(job.key)]
    for name in names:
        assert await queue.redis.persist(name)
    assert len(await repaired(queue)) == 1
    assert all([0 < await queue.ttl(name) <= 30 * DAY_MS for name in names])
    assert await queue.ttl(queue.keys.message(job.key)) == -1


# Workers that are gone, and what only a person can repair.


async def test_what_a_dead_worker_held_is_queued_again_when_no_worker_is_alive(queue: Queue) -> None:
    job = await queue.running(worker="dead")
    assert "warning: 1 job held by workers that are gone: dead" in await findings(queue)
    assert await repaired(queue) == ["1 job held by workers that are gone: dead: queued again"]
    assert await findings(queue) == ["warning: 1 job and no live worker"]
    (again,) = await queue.claim(worker="w1")
    assert (again.key, again.attempt) == (job.key, 2)


async def test_else_it_is_left_to_the_reclaimer_of_a_live_one(queue: Queue) -> None:
    job = await queue.running(worker="slow")
    await queue.renew(worker="alive")
    (held,) = [f for f in await doctor.examine_queue(queue.broker, QUEUE, quietly) if "held by" in f.text]
    assert "a live worker takes them back" in held.advice
    assert await repaired(queue) == []
    assert await queue.settle(succeed(job)) == []


async def test_jobs_without_a_worker_are_reported(queue: Queue) -> None:
    await queue.submit()
    late = await queue.submit(delay_ms=LONG_MS)
    await queue.ripen(late)
    assert await findings(queue) == ["warning: 2 jobs and no live worker", "warning: 1 delayed job overdue"]


async def test_a_pause_is_reported_with_the_command_that_ends_it(queue: Queue) -> None:
    await queue.redis.hset(queue.keys.meta, "paused", "1")
    (_, paused) = await doctor.examine_queue(queue.broker, QUEUE, quietly)
    assert (paused.level, paused.advice) == ("warning", f"taskserver queue resume {QUEUE}")


async def test_keys_that_are_not_ours_are_reported_and_left_alone(queue: Queue) -> None:
    await queue.redis.set(f"{queue.keys.prefix}notes", "of somebody")
    await queue.redis.xadd(queue.keys.lane("middle"), {"job": "x"})
    assert await findings(queue) == [
        "warning: 2 keys that taskserver does not know: lane:middle, notes"
    ] or await findings(queue) == ["warning: 2 keys that taskserver does not know: notes, lane:middle"]
    assert await repaired(queue) == []
    assert await queue.redis.get(f"{queue.keys.prefix}notes") == b"of somebody"


def test_every_kind_of_damage_has_its_description() -> None:
    assert set(DESCRIPTIONS) == set(Damage)


# The list of queues.


async def listed(queue: Queue) -> list[str]:
    return [f"{finding.level}: {finding.text}" for finding in await doctor.examine_registry(queue.broker)]


@pytest.mark.parametrize("damage", ["deleted", "overwritten"])
async def test_the_list_of_queues_is_made_anew(queue: Queue, damage: str) -> None:
    assert await listed(queue) == []
    await queue.redis.delete(QUEUES)
    if damage == "overwritten":
        await queue.redis.set(QUEUES, "what is this")
    assert f"warning: 1 queue not on the list of queues: {QUEUE}" in await listed(queue)
    assert await doctor.queue_names(queue.broker) == []
    assert [done.text for done in await doctor.repair_registry(queue.broker)] == [f"1 queue listed again: {QUEUE}"]
    assert await listed(queue) == []
    assert await doctor.queue_names(queue.broker) == [QUEUE]


async def test_the_list_is_made_anew_although_the_queues_are_damaged_too(queue: Queue) -> None:
    await queue.redis.delete(QUEUES)
    for name in (queue.keys.lane("low"), queue.keys.meta):
        await queue.redis.set(name, "what is this")
    await doctor.repair_registry(queue.broker)
    assert await doctor.queue_names(queue.broker) == [QUEUE]
    await repaired(queue)
    assert await findings(queue) == await listed(queue) == []


async def use_long_ago(queue: Queue) -> None:
    """The queue had its last job in 1970."""
    for lane in (RETURNED, *LANES):
        await queue.redis.delete(queue.keys.lane(lane))
    await queue.broker.prepare(QUEUE, again=True)
    await queue.redis.xadd(queue.keys.lane("normal"), {"job": "x"}, id="1-1")
    await queue.redis.xdel(queue.keys.lane("normal"), "1-1")


async def test_a_queue_that_is_empty_and_unused_for_long_is_forgotten(queue: Queue) -> None:
    await use_long_ago(queue)
    assert await listed(queue) == [f"warning: 1 queue empty and unused for 30 days: {QUEUE}"]
    assert [done.text for done in await doctor.repair_registry(queue.broker)] == [f"1 queue forgotten: {QUEUE}"]
    assert await queue.redis.keys("*") == [SCHEMA.encode()]


async def paused(queue: Queue) -> None:
    await queue.redis.hset(queue.keys.meta, "paused", "1")


async def served(queue: Queue) -> None:
    await queue.claim(worker="w1")
    await queue.renew(worker="w1")


async def with_a_job_that_waits_for_an_answer(queue: Queue) -> None:
    job = (await queue.make(State.WAITING)).key
    await use_long_ago(queue)
    assert await queue.state(job) is State.WAITING


async def with_a_dead_letter(queue: Queue) -> None:
    await queue.settle(fail(await queue.running(), State.DEAD))
    await use_long_ago(queue)


@pytest.mark.parametrize("use", [paused, served, with_a_job_that_waits_for_an_answer, with_a_dead_letter])
async def test_one_that_is_used_in_any_way_is_not(queue: Queue, use: Callable[[Queue], Awaitable[None]]) -> None:
    if use in (paused, served):
        await use_long_ago(queue)
    await use(queue)
    assert await doctor.repair_registry(queue.broker) == []
    assert await doctor.queue_names(queue.broker) == [QUEUE]


async def test_one_that_never_had_a_job_is_given_as_long(queue: Queue) -> None:
    assert await registry.find_unused(queue.broker, mark=True) == []
    assert await queue.redis.hexists(queue.keys.meta, "idle")
    await queue.redis.hset(queue.keys.meta, "idle", "1")
    assert await registry.find_unused(queue.broker, mark=True) == [QUEUE]
    assert await registry.forget(queue.broker, QUEUE)


async def test_a_job_that_comes_after_all_runs(queue: Queue) -> None:
    await use_long_ago(queue)
    assert await registry.forget(queue.broker, QUEUE)
    key = await queue.submit()
    assert [job.key for job in await queue.claim()] == [key]
    assert await doctor.queue_names(queue.broker) == [QUEUE]


async def test_partitions_that_are_not_counted_any_more(queue: Queue) -> None:
    await partitioning.grow(queue.broker, "q", 3)
    assert await doctor.examine_registry(queue.broker) == []
    await queue.redis.delete(PARTITIONS)
    await queue.redis.set(PARTITIONS, "what is this")
    (found,) = await doctor.examine_registry(queue.broker)
    assert found.text == "1 queue with fewer partitions counted than listed: q"
    (done,) = await doctor.repair_registry(queue.broker)
    assert done.text == "partitions of 1 queue counted again: q"
    assert await partitions.counts(queue.broker) == {"q": 3}
    assert await doctor.examine_registry(queue.broker) == []


async def test_a_queue_is_forgotten_with_all_its_partitions(queue: Queue) -> None:
    await partitioning.grow(queue.broker, "q", 2)
    for left, name in ((2, "q~1"), (0, "q")):
        await queue.redis.srem(QUEUES, name)
        await partitioning.forget_count(queue.broker, "q")
        assert (await partitions.counts(queue.broker)).get("q", 0) == left
