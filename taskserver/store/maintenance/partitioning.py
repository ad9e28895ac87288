"""Changing how many partitions a queue has. The number only grows: of two that disagree, the larger one holds.

New partitions are put on the list of queues before they are counted: workers read both, so they consume a partition
before any client submits to it. ``store/queries/partitions.py`` reads what is written here.
"""

from __future__ import annotations

from taskserver.domain.partitions import check_count, partition, queue_of
from taskserver.errors import ConfigError
from taskserver.store.broker import control
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.admin import pause
from taskserver.store.keys import PARTITIONS
from taskserver.store.queries import queues
from taskserver.store.queries.partitions import counts


async def grow(broker: Broker, queue: str, count: int) -> int:
    """Give a queue at least ``count`` partitions.

    Returns:
        How many it has now.

    Raises:
        ConfigError: if no queue can have that many.
    """
    known = (await counts(broker)).get(queue, 1)
    if check_count(count) <= known:
        return known
    for number in range(count):
        await broker.prepare(partition(queue, number), again=True)
    await _pause_like_first(broker, queue, range(known, count))
    await broker.ask(PARTITIONS, lambda client: client.zadd(PARTITIONS, {queue: count}, gt=True))
    await control.publish(broker, queue, control.GROWN)
    return max(count, (await counts(broker)).get(queue, count))


async def set_count(broker: Broker, queue: str, count: int) -> None:
    """Give a queue exactly ``count`` partitions.

    Raises:
        ConfigError: if it already has more.
    """
    known = await grow(broker, queue, count)
    if known > count:
        raise ConfigError(
            f"queue {queue!r} has {known} partitions and cannot shrink: they hold jobs, and job ids name them. "
            "Use a new queue if you need fewer partitions"
        )


async def forget_count(broker: Broker, queue: str) -> None:
    """Forget how many partitions a queue had, unless one of them is still on the list of queues."""
    if not any(queue_of(name) == queue for name in await queues.names(broker)):
        await broker.ask(PARTITIONS, lambda client: client.zrem(PARTITIONS, queue))


async def _pause_like_first(broker: Broker, queue: str, numbers: range) -> None:
    """Pause the new partitions of a queue that is paused."""
    first = broker.keys(queue)
    (paused,) = await broker.ask(first.prefix, lambda client: client.hmget(first.meta, ["paused"]))
    if paused is not None:
        for number in numbers:
            await pause(broker, partition(queue, number))
