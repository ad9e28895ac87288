"""Stream entries that were skipped, forged, or restored from a backup: no job is lost, and none runs twice by them."""

from __future__ import annotations

import pytest

from taskserver.domain.job import State
from taskserver.store.jobs import admin, claim, recover
from taskserver.store.jobs.claim import BlockingReader
from taskserver.store.keys import GROUP
from taskserver.store.maintenance import audit
from taskserver.store.queries import jobs as job_queries
from tests.store.harness import (
    QUEUE,
    Held,
    Queue,
    succeed,
)
from tests.store.test_repair_jobs import audit_stranded

# Entries that are there, and wake nobody


async def test_a_queued_job_that_its_group_has_skipped_is_found(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.xgroup_setid(queue.keys.lane("normal"), GROUP, "$")
    assert await queue.claim() == []
    assert await audit_stranded(queue) == [key]
    assert [job.key for job in await queue.claim()] == [key]
    await queue.settle(*[])
    assert await queue.entries() == 1


async def test_a_job_whose_worker_and_consumer_are_gone_is_found(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.redis.xgroup_delconsumer(queue.keys.lane("normal"), GROUP, "w1")
    assert await queue.reclaim() == {}
    assert await audit_stranded(queue) == [job.key]
    assert await queue.reclaim() == {job.key: "w1"}


async def test_a_pending_entry_that_was_deleted_wakes_nobody(queue: Queue) -> None:
    job = await queue.running()
    await queue.delete_entry(job.key)
    assert await audit_stranded(queue) == [job.key]
    assert await queue.reclaim() == {job.key: "w1"}


async def test_entries_of_a_rewound_group_start_nothing_twice(queue: Queue) -> None:
    job, waiting = await queue.running(), await queue.submit()
    await queue.redis.xgroup_setid(queue.keys.lane("normal"), GROUP, "0")
    assert [again.key for again in await queue.claim(slots=5, worker="w2")] == [waiting]
    assert await queue.renew(job) == {}
    assert await queue.reclaim("w1", "w2") == {}
    assert await queue.settle(succeed(job)) == []


async def test_what_was_skipped_and_is_nobodys_goes(queue: Queue) -> None:
    lane = queue.keys.lane("normal")
    first, _ = await queue.running(), await queue.running()
    for _ in range(3):
        await queue.redis.xadd(lane, {"x": "y"})
    await queue.redis.xgroup_setid(lane, GROUP, "$")
    key = await queue.submit()
    await audit.remove_gone_workers(queue.broker, QUEUE)
    assert await queue.entries() == 6  # a pending entry is in front of them
    for held in await queue.claim():
        assert held.key == key
        await queue.settle(succeed(held))
    await queue.settle(succeed(first))
    await queue.reclaim()
    await queue.cancel(*[key async for page in job_queries.scan(queue.broker, QUEUE) for key in page])
    await audit.remove_gone_workers(queue.broker, QUEUE)
    assert await queue.entries() == 0


async def test_what_a_rewound_group_will_deliver_stays(queue: Queue) -> None:
    keys = [await queue.submit() for _ in range(3)]
    await queue.claim(slots=2)
    await queue.redis.xack(queue.keys.lane("normal"), GROUP, (await queue.entry(keys[0]))[1])
    await queue.redis.xgroup_setid(queue.keys.lane("normal"), GROUP, "0")
    await audit.remove_gone_workers(queue.broker, QUEUE)
    assert await queue.entries() == 3
    assert [job.key for job in await queue.claim(slots=5)] == keys[2:]


# Leftovers: entries that name a job, and are not its live one


async def forge(queue: Queue, key: str, lane: str = "high") -> str:
    id_ = await queue.redis.xadd(queue.keys.lane(lane), {"job": key})
    return str(id_.decode())


async def test_a_leftover_that_a_lost_worker_had_read_takes_no_job_from_a_live_one(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await forge(queue, job.key)
    await BlockingReader(queue.broker, QUEUE, "w2").read()
    before = await queue.record(job.key)
    assert await queue.reclaim() == {job.key: "w1"}  # by its own entry: both leases were over
    (job,) = await queue.claim(worker="w1")
    await forge(queue, job.key)
    await BlockingReader(queue.broker, QUEUE, "w2").read()
    lane, id_ = await queue.entry(job.key)
    await queue.redis.xack(queue.keys.lane(lane), GROUP, id_)
    assert await queue.reclaim() == {}
    assert await queue.state(job.key) is State.RUNNING
    assert before != await queue.record(job.key)


async def test_a_purge_leaves_a_job_to_the_worker_that_has_read_its_entry(queue: Queue) -> None:
    key = await queue.submit()
    entries = await BlockingReader(queue.broker, QUEUE, "w1").read()
    await forge(queue, key)
    assert await admin.purge(queue.broker, QUEUE) == 0
    assert [job.key for job in await queue.claim(entries=entries)] == [key]


async def test_a_leftover_is_recalled_without_its_job(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await forge(queue, job.key)
    await BlockingReader(queue.broker, QUEUE, "w1").read()
    lane, id_ = await queue.entry(job.key)
    await queue.redis.xack(queue.keys.lane(lane), GROUP, id_)
    assert await recover.recall(queue.broker, QUEUE, "w1", []) == []
    assert await queue.state(job.key) is State.RUNNING


async def test_a_leftover_that_finds_no_slot_does_not_bring_its_job_forward(queue: Queue) -> None:
    key = await queue.submit(lane="low")
    await forge(queue, key)
    before = await queue.entry(key)
    (entry,) = [entry for entry in await BlockingReader(queue.broker, QUEUE, "w1").read() if entry.lane == b"high"]
    await claim.claim(queue.broker, QUEUE, "w1", (0, 0, 0), 10, [entry])
    assert await queue.entry(key) == before


async def test_garbage_that_finds_no_slot_is_thrown_away(queue: Queue) -> None:
    await forge(queue, "unknown")
    entries = await BlockingReader(queue.broker, QUEUE, "w1").read()
    assert (await claim.claim(queue.broker, QUEUE, "w1", (0, 0, 0), 10, entries)).jobs == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def restored(queue: Queue, state: State) -> Held:
    """A job past its run, whose stream somebody has restored from a backup: its entry is pending for w1 again."""
    lane = queue.keys.lane("normal")
    job = await queue.running(worker="w1")
    backup = await queue.redis.dump(lane)
    if state is State.WAITING:
        await queue.wait(job)
    else:
        await queue.settle(succeed(job))
    await queue.redis.restore(lane, 0, backup, replace=True)
    return Held(job.key, job.fence)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.WAITING])
async def test_an_entry_from_a_backup_runs_nothing_again(queue: Queue, state: State) -> None:
    job = await restored(queue, state)
    assert await queue.reclaim() == {}
    assert await queue.state(job.key) is state
    assert await queue.pending() == 0


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.WAITING])
async def test_an_entry_from_a_backup_is_recalled_without_its_job(queue: Queue, state: State) -> None:
    job = await restored(queue, state)
    assert await recover.recall(queue.broker, QUEUE, "w1", []) == []
    assert await queue.state(job.key) is state
    assert await queue.pending() == 0


async def test_what_another_worker_runs_is_not_recalled(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.redis.xgroup_setid(queue.keys.lane("normal"), GROUP, "0")
    await BlockingReader(queue.broker, QUEUE, "w2").read()  # the entry is pending for w2 now
    assert await recover.recall(queue.broker, QUEUE, "w2", []) == []
    assert await queue.settle(succeed(job)) == []


async def test_a_pending_entry_that_was_deleted_stops_no_recall(queue: Queue) -> None:
    deleted, unheard = await queue.running(), await queue.running()
    await queue.delete_entry(deleted.key)
    assert await recover.recall(queue.broker, QUEUE, "w1", []) == [unheard.key]


async def test_a_job_behind_a_forged_id_keeps_its_entry(queue: Queue) -> None:
    await queue.redis.xadd(queue.keys.lane("normal"), {"x": "y"}, id="18446744073709551615-1")
    key = await queue.submit()
    (job,) = await queue.claim(slots=2)
    assert await queue.renew(job) == {}
    assert (await queue.entry(key))[0] == "normal"
    await queue.settle(succeed(job))
    assert (await queue.entries(), await queue.pending()) == (0, 0)
