"""Reading queues: what waits, what runs, and which workers they have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from taskserver.domain.for_pydantic import ForPydantic
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.keys import GROUP, QUEUES, Keys
from taskserver.store.queries.untrusted import is_queue_name
from taskserver.store.replies import decode, milliseconds_of

SOON_SECONDS = 60.0
"""A job that is due within this time counts as waiting: a new pod takes nearly as long to start."""


class QueueInfo(ForPydantic, frozen=True, kw_only=True):
    """One queue at one moment.

    Attributes:
        name: The queue.
        paused: Whether workers may claim from it.
        ready: Jobs in its lanes that no worker has claimed, by lane.
        running: Jobs that workers have claimed and not ended.
        delayed: Jobs that wait for their time.
        due_soon: Those of them that are due within ``SOON_SECONDS``.
        dead: Dead letters.
        oldest_age: Seconds for which the oldest unclaimed job has waited; None if no job waits.
        workers: Names of its live workers.
        partitions: How many partitions these numbers include.
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
    due_soon: int = 0

    @property
    def backlog(self) -> int:
        """Jobs that workers could start now or soon; at least 1 while any is delayed, since a worker promotes those."""
        if self.paused:
            return 0
        return max(sum(self.ready.values()) + self.due_soon, min(self.delayed, 1))


def unused(name: str) -> QueueInfo:
    """A queue that nobody has used yet."""
    ready = dict.fromkeys((RETURNED, *LANES), 0)
    return QueueInfo(name=name, paused=False, ready=ready, running=0, delayed=0, dead=0, oldest_age=None, workers=[])


async def names(broker: Broker) -> list[str]:
    """The names of all queues, and of all their partitions, sorted."""
    found = await broker.ask(QUEUES, lambda client: client.smembers(QUEUES))
    return sorted(filter(is_queue_name, map(decode, found)))


async def info(broker: Broker, queue: str) -> QueueInfo:
    """One partition, or a queue that has only one. Creates the streams and groups that it lacks."""
    keys = broker.keys(queue)
    await broker.prepare(queue)
    try:
        return await broker.ask(keys.prefix, lambda client: _read(client, keys))
    except GroupMissing:
        await broker.prepare(queue, again=True)
        return await broker.ask(keys.prefix, lambda client: _read(client, keys))


def worker_keys(keys: Keys, consumers: Iterable[Sequence[dict[str, Any]] | None]) -> list[bytes]:
    """The keys of all workers that may be alive, from the answers to XINFO CONSUMERS for each lane.

    Every worker is a consumer. Scanning the server for their keys would take the longer the more jobs there are.
    """
    prefix = keys.worker("").encode()
    return sorted({prefix + consumer["name"] for some in consumers for consumer in some or ()})


async def combined_info(broker: Broker, queue: str, partitions: Sequence[str]) -> QueueInfo:
    """A whole queue: the sums of its partitions, and the greatest age. It is paused if any partition is.

    Args:
        broker: Where.
        queue: Its name.
        partitions: Its partitions, the first one first: every worker consumes that one too.
    """
    infos = await asyncio.gather(*(info(broker, each) for each in partitions))
    ages = [each.oldest_age for each in infos if each.oldest_age is not None]
    return QueueInfo(
        name=queue,
        paused=any(each.paused for each in infos),
        ready={lane: sum(each.ready[lane] for each in infos) for lane in infos[0].ready},
        running=sum(each.running for each in infos),
        delayed=sum(each.delayed for each in infos),
        due_soon=sum(each.due_soon for each in infos),
        dead=sum(each.dead for each in infos),
        oldest_age=max(ages, default=None),
        workers=infos[0].workers,
        partitions=len(infos),
    )


async def _read(client: Any, keys: Keys) -> QueueInfo:
    lanes = (RETURNED, *LANES)
    async with client.pipeline(transaction=False) as pipe:
        for lane in lanes:
            pipe.xinfo_groups(keys.lane(lane))
            pipe.xlen(keys.lane(lane))
            pipe.xinfo_consumers(keys.lane(lane), GROUP)
        pipe.zcard(keys.delayed)
        pipe.zcard(keys.dead)
        pipe.hget(keys.meta, "paused")
        pipe.time()
        answers = await pipe.execute()
    *of_lanes, delayed, dead, paused, (seconds, micros) = answers
    now = seconds + micros / 1e6
    groups = {lane: _group(found) for lane, found in zip(lanes, of_lanes[::3], strict=True)}
    lengths = dict(zip(lanes, of_lanes[1::3], strict=True))
    workers = worker_keys(keys, of_lanes[2::3])
    async with client.pipeline(transaction=False) as pipe:
        for lane in lanes:
            pipe.xrange(keys.lane(lane), min=f"({groups[lane]['last-delivered-id'].decode()}", count=1)
        for worker in workers:
            pipe.exists(worker)
        pipe.zcount(keys.delayed, "-inf", round((now + SOON_SECONDS) * 1000))
        *found, due_soon = await pipe.execute()
    oldest, alive = found[: len(lanes)], found[len(lanes) :]
    ages = [now - milliseconds_of(entries[0][0]) / 1000 for entries in oldest if entries]
    return QueueInfo(
        name=keys.queue,
        paused=paused is not None,
        ready={lane: max(0, lengths[lane] - groups[lane]["pending"]) for lane in lanes},
        running=sum(group["pending"] for group in groups.values()),
        delayed=delayed,
        due_soon=due_soon,
        dead=dead,
        oldest_age=max(0.0, *ages) if ages else None,
        workers=[decode(key)[len(keys.worker("")) :] for key, lives in zip(workers, alive, strict=True) if lives],
    )


def _group(groups: list[dict[str, Any]]) -> dict[str, Any]:
    wanted = GROUP.encode()
    return next((group for group in groups if group["name"] == wanted), {"pending": 0, "last-delivered-id": b"0-0"})
