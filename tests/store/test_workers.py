"""Workers are found among the consumers of a queue's groups, not among all keys."""

from __future__ import annotations

import asyncio

import msgspec

from taskserver.domain.fleet import WorkerSnapshot
from taskserver.store.jobs import recover
from taskserver.store.jobs.lease import LeaseKeeper
from taskserver.store.queries.workers import list_workers
from tests.store.harness import QUEUE, Queue


async def beat(queue: Queue, name: str, valid_ms: int = 60_000) -> None:
    """A heartbeat of a worker that has no jobs."""
    about = WorkerSnapshot(name=name, host="h", pid=1, python="3", concurrency=1, busy=0, queues=[QUEUE], tools=[])
    keeper = LeaseKeeper(queue.broker, name)
    await asyncio.to_thread(keeper.renew, QUEUE, [], msgspec.msgpack.encode(about), valid_ms)
    keeper.close()


async def names(queue: Queue) -> list[str]:
    return [worker.name for worker in await list_workers(queue.broker, [QUEUE])]


async def test_a_worker_is_listed_from_its_first_heartbeat_on_until_it_leaves(queue: Queue) -> None:
    await beat(queue, "w1")
    await beat(queue, "w2")
    assert await names(queue) == ["w1", "w2"]
    await recover.leave(queue.broker, QUEUE, "w1")
    assert await names(queue) == ["w2"]


async def test_one_whose_groups_were_lost_is_listed_again_after_a_heartbeat(queue: Queue) -> None:
    await beat(queue, "w1")
    await queue.destroy_groups()
    await beat(queue, "w1")
    assert await names(queue) == [], "there is no group that it could be in, and no harm is done"
    await queue.broker.prepare(QUEUE, again=True)
    await beat(queue, "w1")
    assert await names(queue) == ["w1"]


async def test_consumers_that_are_no_workers_are_not_listed(queue: Queue) -> None:
    lane = queue.keys.lane("returned")
    await beat(queue, "w1")
    for forged in (b"\xff\xfe", b"nobody", b"wrong", b"nonsense"):
        await queue.redis.xgroup_createconsumer(lane, "workers", forged)
    await queue.redis.hset(queue.keys.worker("wrong"), "a", "b")
    await queue.redis.set(queue.keys.worker("nonsense"), b"\xc1", px=60_000)
    assert await names(queue) == ["w1"]


async def test_no_key_is_searched_for(queue: Queue) -> None:
    await beat(queue, "w1")
    await queue.redis.config_resetstat()
    await names(queue)
    assert "cmdstat_scan" not in await queue.redis.info("commandstats")
