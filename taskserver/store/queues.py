"""Looking at queues and workers: what waits, what runs, who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.connection import Broker, GroupMissing
from taskserver.store.forged import is_queue_name
from taskserver.store.keys import GROUP, QUEUES, Keys
from taskserver.store.replies import milliseconds_of, text


class QueueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One queue at one moment.

    Attributes:
        name: The queue.
        paused: Whether workers may claim from it.
        ready: Jobs in its lanes that no worker has claimed, by lane.
        running: Jobs that workers have claimed and not ended.
        delayed: Jobs that wait for their time.
        dead: Dead letters.
        oldest_age: Seconds that the oldest unclaimed job has waited; None when none waits.
        workers: Workers that are alive, by their names; none if they were not looked for.
        partitions: How many partitions these figures are of.
    """

    name: str
    paused: bool
    ready: dict[str, int]
    running: int
    delayed: int
    dead: int
    oldest_age: float | None
    workers: list[str]
    partitions: int = 1


async def names(broker: Broker) -> list[str]:
    """The names of all queues, and of all their partitions, sorted."""
    found = await broker.ask(QUEUES, lambda client: client.smembers(QUEUES))
    return sorted(filter(is_queue_name, map(text, found)))


async def info(broker: Broker, queue: str, *, workers: bool = True) -> QueueInfo:
    """What waits and runs in a partition, or in a queue that has only one, and who works on it.

    Args:
        broker: Where.
        queue: Its name.
        workers: Whether to look for workers; that goes over every key of the server.
    """
    keys = broker.keys(queue)
    await broker.prepare(queue)
    try:
        return await broker.ask(keys.prefix, lambda client: _look(client, keys, workers))
    except GroupMissing:
        await broker.prepare(queue, again=True)
        return await broker.ask(keys.prefix, lambda client: _look(client, keys, workers))


async def overall(broker: Broker, queue: str, partitions: Sequence[str], *, workers: bool = True) -> QueueInfo:
    """The same of a whole queue: sums, and the greatest age. It counts as paused if any of its partitions is.

    Args:
        broker: Where.
        queue: Its name.
        partitions: Its partitions (``store.partitions``).
        workers: Whether to look for workers; each of them works on the first partition too.
    """
    infos = await asyncio.gather(*(info(broker, each, workers=workers and not i) for i, each in enumerate(partitions)))
    ages = [each.oldest_age for each in infos if each.oldest_age is not None]
    return QueueInfo(
        name=queue,
        paused=any(each.paused for each in infos),
        ready={lane: sum(each.ready[lane] for each in infos) for lane in infos[0].ready},
        running=sum(each.running for each in infos),
        delayed=sum(each.delayed for each in infos),
        dead=sum(each.dead for each in infos),
        oldest_age=max(ages, default=None),
        workers=infos[0].workers,
        partitions=len(infos),
    )


async def _look(client: Any, keys: Keys, with_workers: bool) -> QueueInfo:
    lanes = (RETURNED, *LANES)
    async with client.pipeline(transaction=False) as pipe:
        for lane in lanes:
            pipe.xinfo_groups(keys.lane(lane))
            pipe.xlen(keys.lane(lane))
        pipe.zcard(keys.delayed)
        pipe.zcard(keys.dead)
        pipe.hget(keys.meta, "paused")
        answers = await pipe.execute()
    groups = {lane: _group(answers[2 * i]) for i, lane in enumerate(lanes)}
    lengths = {lane: answers[2 * i + 1] for i, lane in enumerate(lanes)}
    async with client.pipeline(transaction=False) as pipe:
        for lane in lanes:
            pipe.xrange(keys.lane(lane), min=f"({groups[lane]['last-delivered-id'].decode()}", count=1)
        pipe.time()
        *oldest, (seconds, micros) = await pipe.execute()
    ages = [seconds + micros / 1e6 - milliseconds_of(entries[0][0]) / 1000 for entries in oldest if entries]
    workers = [name async for name in client.scan_iter(match=keys.worker("*"), count=500)] if with_workers else []
    delayed, dead, paused = answers[-3:]
    return QueueInfo(
        name=keys.queue,
        paused=paused is not None,
        ready={lane: max(0, lengths[lane] - groups[lane]["pending"]) for lane in lanes},
        running=sum(group["pending"] for group in groups.values()),
        delayed=delayed,
        dead=dead,
        oldest_age=max(0.0, *ages) if ages else None,
        workers=sorted(text(name)[len(keys.worker("")) :] for name in workers),
    )


def _group(groups: list[dict[str, Any]]) -> dict[str, Any]:
    wanted = GROUP.encode()
    return next((group for group in groups if group["name"] == wanted), {"pending": 0, "last-delivered-id": b"0-0"})
