"""The registry, which is the list of queues: adding those that are missing, forgetting those that nobody uses.

Clients and workers add a queue to the list when they first use it. A program that names a queue for each of its
sessions would fill the list and the broker without end; so a queue that is empty, not paused and without workers is
forgotten 30 days after its last job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from taskserver.domain.partitions import check_partition_name, number_of, queue_of
from taskserver.errors import ConfigError
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import FORGETTER, PARTITIONS, QUEUES
from taskserver.store.maintenance.audit import audit_queue
from taskserver.store.maintenance.partitioning import forget_count
from taskserver.store.queries import partitions
from taskserver.store.queries.queues import names
from taskserver.store.replies import decode

UNUSED_MS = 30 * 86_400_000
"""How long a queue must have been empty and unused to be forgotten."""
TURN_MS = 3_600_000
"""How often one of all workers looks for such queues."""
PAGE = 1_000


async def is_broken(broker: Broker) -> bool:
    """Whether the list is of the wrong type."""
    return await _type(broker, QUEUES) not in (b"set", b"none")


async def find_miscounted(broker: Broker) -> dict[str, int]:
    """Queues with more partitions on the list than are counted, and how many they have by the list."""
    listed = Counter[str]()
    for name in [] if await is_broken(broker) else await names(broker):
        listed[queue_of(name)] = max(listed[queue_of(name)], number_of(name) + 1)
    counted = await partitions.counts(broker)
    return {queue: count for queue, count in sorted(listed.items()) if count > counted.get(queue, 1)}


async def recount(broker: Broker) -> dict[str, int]:
    """Count partitions by the list; a key of the wrong type in place of the counts is set aside for 30 days."""
    if await _type(broker, PARTITIONS) not in (b"zset", b"none"):
        await broker.ask(PARTITIONS, partial(_set_aside, name=PARTITIONS))
    wrong = await find_miscounted(broker)
    if wrong:
        await broker.ask(PARTITIONS, lambda client: client.zadd(PARTITIONS, wrong, gt=True))
    return wrong


async def find_unlisted(broker: Broker) -> list[str]:
    """Queues that have lanes but are not on the list. Scans all keys of every server."""
    known = set() if await is_broken(broker) else set(await names(broker))
    return sorted(await _queues_with(broker, "lane:*") - known)


async def relist(broker: Broker, queues: Sequence[str]) -> None:
    """Add queues to the list; a key of the wrong type in its place is set aside for 30 days."""
    if await is_broken(broker):
        await broker.ask(QUEUES, partial(_set_aside, name=QUEUES))
    if queues:
        await broker.ask(QUEUES, lambda client: client.sadd(QUEUES, *queues))


async def find_unused(broker: Broker, *, mark: bool) -> list[str]:
    """Queues that are probably unused; ``forget`` checks again.

    Args:
        broker: Where.
        mark: Record for queues that never had a job that they are unused from now on.
    """
    unused = [queue for queue in await names(broker) if await _run_forget(broker, queue, "mark" if mark else "look")]
    served = await _queues_with(broker, "worker:*") if unused else set()
    return [queue for queue in unused if queue not in served]


async def forget(broker: Broker, queue: str) -> bool:
    """Forget a queue if it has no job, no worker, and has been unused for 30 days; returns whether it was forgotten."""
    async with aclosing(audit_queue(broker, queue, repair=True)) as steps:
        async for step in steps:
            if step.records or step.workers:
                return False
    if not await _run_forget(broker, queue, "forget"):
        return False
    await broker.ask(QUEUES, lambda client: client.srem(QUEUES, queue))
    await forget_count(broker, queue_of(queue))
    return True


async def take_cleanup_turn(broker: Broker, worker: str) -> bool:
    """Whether this worker is the one that looks for unused queues now: one of all workers, once an hour."""
    return bool(await broker.ask(FORGETTER, lambda client: client.set(FORGETTER, worker, nx=True, px=TURN_MS)))


async def _queues_with(broker: Broker, key: str) -> set[str]:
    """The queues with a key that matches."""
    found: set[str] = set()
    for server in await broker.masters():
        with broker.translated():
            async for name in broker.client(server).scan_iter(match=f"ts:{{*}}:{key}", count=PAGE):
                with suppress(ConfigError):
                    found.add(check_partition_name(decode(name).partition("{")[2].partition("}")[0]))
    return found


async def _run_forget(broker: Broker, queue: str, mode: str) -> bool:
    return bool(await broker.run("forget", queue, mode, UNUSED_MS))


async def _type(broker: Broker, name: str) -> bytes:
    type_: bytes = await broker.ask(name, lambda client: client.type(name))
    return type_


async def _set_aside(client: Any, name: str) -> None:
    aside = f"{{{name}}}:broken"  # the hash tag keeps it in the slot
    await client.rename(name, aside)
    await client.expire(aside, 30 * 86_400)
