"""Renewing: heartbeats keep leases, repair lost entries and bring back what the worker must know."""

from __future__ import annotations

import asyncio

from taskserver.domain.job import ClaimedJob, State
from taskserver.store.jobs import lease
from taskserver.store.keys import GROUP
from taskserver.store.queries import queues
from tests.store.harness import LONG_MS, QUEUE, Held, Queue, release, succeed

FEW_MS = 50


async def idle_ms(queue: Queue, key: str) -> int:
    """For how long the job's lease has not been renewed."""
    lane, id_ = await queue.entry(key)
    (pending,) = await queue.redis.xpending_range(queue.keys.lane(lane), "workers", id_, id_, 1)
    return int(pending["time_since_delivered"])


async def test_a_renewed_lease_is_not_taken(queue: Queue, eventually: object) -> None:
    job = await queue.running()

    async def overdue() -> bool:
        return await idle_ms(queue, job.key) > FEW_MS

    await eventually(overdue)  # type: ignore[operator]
    assert await queue.renew(job) == {}
    assert await idle_ms(queue, job.key) < FEW_MS
    assert await queue.reclaim("w1") == {}
    assert await queue.state(job.key) is State.RUNNING


async def test_a_heartbeat_says_that_the_worker_is_alive(queue: Queue) -> None:
    assert await queue.renew(worker="w5", valid_ms=5_000) == {}
    assert 0 < await queue.ttl(queue.keys.worker("w5")) <= 5_000
    assert await queue.redis.get(queue.keys.worker("w5")) == b"about"
    assert (await queues.info(queue.broker, QUEUE)).workers == ["w5"]


async def test_a_worker_hears_what_needs_its_attention(queue: Queue) -> None:
    kept, cancelled, lost, ended = [await queue.running() for _ in range(4)]
    await queue.settle(release(lost), succeed(ended))
    await queue.cancel(cancelled.key)
    gone = Held("g" * 24, 1)
    assert await queue.renew(kept, cancelled, lost, ended, gone) == {
        cancelled.key: "cancel",
        lost.key: "lost",
        ended.key: "lost",
        gone.key: "lost",
    }


async def test_a_zombie_does_not_take_the_lease_back(queue: Queue) -> None:
    zombie = await queue.running(worker="w1")
    await queue.reclaim()
    (job,) = await queue.claim(worker="w2")
    assert await queue.renew(zombie, worker="w1") == {job.key: "lost"}
    lane, id_ = await queue.entry(job.key)
    (pending,) = await queue.redis.xpending_range(queue.keys.lane(lane), "workers", id_, id_, 1)
    assert pending["consumer"] == b"w2"


async def test_a_deleted_entry_is_repaired_so_that_the_lease_can_still_be_lost(queue: Queue) -> None:
    job = await queue.running()
    await queue.delete_entry(job.key)
    assert await queue.renew(job) == {}
    assert await queue.entry_exists(job.key)
    assert await queue.claim(worker="w2") == []  # the new entry is a running job's
    assert await queue.renew(job) == {}
    assert await queue.reclaim("w1") == {}
    assert await queue.reclaim() == {job.key: "w1"}


async def test_a_repaired_job_ends_without_leftovers(queue: Queue) -> None:
    job = await queue.running()
    await queue.delete_entry(job.key)
    await queue.renew(job)
    await queue.settle(succeed(job))
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_a_deleted_stream_is_repaired(queue: Queue) -> None:
    job = await queue.running(lane="low")
    await queue.redis.unlink(queue.keys.lane("low"))
    await queue.broker.prepare(QUEUE, again=True)
    assert await queue.renew(job) == {}
    assert await queue.reclaim() == {job.key: "w1"}


async def test_a_rebuilt_group_knows_the_lease_again(queue: Queue) -> None:
    job = await queue.running()
    await queue.destroy_groups()
    await queue.broker.prepare(QUEUE, again=True)
    assert await queue.pending() == 0
    assert await queue.renew(job) == {}
    assert await queue.pending() == 1


async def test_a_heartbeat_writes_no_entry_that_is_not_needed(queue: Queue) -> None:
    job = await queue.running()
    assert await queue.renew(job) == await queue.renew(job) == {}
    assert await queue.entries() == 1


async def test_what_a_claim_gave_is_held_while_its_answer_is_on_the_way(queue: Queue) -> None:
    """The worker does not know its jobs yet; others' leases, and those that were just renewed, are left alone."""
    claimed, other = await queue.running(worker="w1"), await queue.running(worker="w2")
    await neglect(queue, claimed, "w1")
    await neglect(queue, other, "w2")
    keeper = lease.LeaseKeeper(queue.broker, "w1")
    await asyncio.to_thread(keeper.hold, QUEUE, 1_000)
    keeper.close()
    assert [await idle_ms(queue, job.key) < NEGLECTED_MS for job in (claimed, other)] == [True, False]
    renewed = await queue.running(worker="w1")
    await neglect(queue, renewed, "w1")
    await queue.broker.run("hold", QUEUE, "w1", LONG_MS, 1_000)
    assert await idle_ms(queue, renewed.key) >= NEGLECTED_MS
    assert await queue.settle(succeed(claimed), succeed(renewed)) == []


NEGLECTED_MS = 30_000


async def neglect(queue: Queue, job: ClaimedJob, worker: str) -> None:
    """The job's lease was not renewed for long."""
    lane, id_ = await queue.entry(job.key)
    await queue.redis.xclaim(queue.keys.lane(lane), GROUP, worker, 0, [id_], idle=NEGLECTED_MS, justid=True)
