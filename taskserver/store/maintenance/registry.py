"""The list of queues: those that are missing on it come back, and those that nobody has used for long go.

Queues are listed by whoever submits to them or works on them. A program that names a queue for each of its sessions
would fill list and broker without end; so a queue that is empty, not paused and without workers is forgotten a month
after its last job.
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
"""For how long a queue must have been empty and unused to be forgotten."""
TURN_MS = 3_600_000
"""How often one worker of all looks for such queues."""
PAGE = 1_000


async def is_broken(broker: Broker) -> bool:
    """Whether somebody has put something else where the list should be."""
    return await _kind(broker, QUEUES) not in (b"set", b"none")


async def miscounted(broker: Broker) -> dict[str, int]:
    """Queues that have more partitions on the list than are counted, and how many that makes."""
    listed = Counter[str]()
    for name in [] if await is_broken(broker) else await names(broker):
        listed[queue_of(name)] = max(listed[queue_of(name)], number_of(name) + 1)
    counted = await partitions.counts(broker)
    return {queue: count for queue, count in sorted(listed.items()) if count > counted.get(queue, 1)}


async def recount(broker: Broker) -> dict[str, int]:
    """Count partitions by the list; what stood in place of the counts is set aside for 30 days."""
    if await _kind(broker, PARTITIONS) not in (b"zset", b"none"):
        await broker.ask(PARTITIONS, partial(_set_aside, name=PARTITIONS))
    wrong = await miscounted(broker)
    if wrong:
        await broker.ask(PARTITIONS, lambda client: client.zadd(PARTITIONS, wrong, gt=True))
    return wrong


async def unlisted(broker: Broker) -> list[str]:
    """Queues that have lanes but are not on the list. Looks at every key of every server."""
    known = set() if await is_broken(broker) else set(await names(broker))
    return sorted(await _having(broker, "lane:*") - known)


async def relist(broker: Broker, queues: Sequence[str]) -> None:
    """Put queues on the list; what is there and is no list is set aside for 30 days."""
    if await is_broken(broker):
        await broker.ask(QUEUES, partial(_set_aside, name=QUEUES))
    if queues:
        await broker.ask(QUEUES, lambda client: client.sadd(QUEUES, *queues))


async def find_unused(broker: Broker, *, mark: bool) -> list[str]:
    """Queues that look as if they could be forgotten.

    Args:
        broker: Where.
        mark: Whether to note on queues that never had a job that they are unused from now on.
    """
    unused = [queue for queue in await names(broker) if await _try(broker, queue, "mark" if mark else "look")]
    served = await _having(broker, "worker:*") if unused else set()
    return [queue for queue in unused if queue not in served]


async def forget(broker: Broker, queue: str) -> bool:
    """Forget a queue if it has no record of any job, no worker, and has been unused for a month; whether it was."""
    async with aclosing(audit_queue(broker, queue, repair=True)) as steps:
        async for step in steps:
            if step.records or step.workers:
                return False
    if not await _try(broker, queue, "forget"):
        return False
    await broker.ask(QUEUES, lambda client: client.srem(QUEUES, queue))
    await forget_count(broker, queue_of(queue))
    return True


async def take_cleanup_turn(broker: Broker, worker: str) -> bool:
    """Whether this worker is to look for queues to forget: one of all, once an hour."""
    return bool(await broker.ask(FORGETTER, lambda client: client.set(FORGETTER, worker, nx=True, px=TURN_MS)))


async def _having(broker: Broker, what: str) -> set[str]:
    """The queues that have such keys."""
    found: set[str] = set()
    for server in await broker.masters():
        with broker.translated():
            async for name in broker.client(server).scan_iter(match=f"ts:{{*}}:{what}", count=PAGE):
                with suppress(ConfigError):
                    found.add(check_partition_name(decode(name).partition("{")[2].partition("}")[0]))
    return found


async def _try(broker: Broker, queue: str, mode: str) -> bool:
    return bool(await broker.run("forget", queue, mode, UNUSED_MS))


async def _kind(broker: Broker, name: str) -> bytes:
    kind: bytes = await broker.ask(name, lambda client: client.type(name))
    return kind


async def _set_aside(client: Any, name: str) -> None:
    aside = f"{{{name}}}:broken"  # the hash tag keeps it in the slot
    await client.rename(name, aside)
    await client.expire(aside, 30 * 86_400)
