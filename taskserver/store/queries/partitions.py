"""How many partitions each queue has: the one place where a queue becomes its partitions.

The broker keeps a count for each queue that has more than one, and it only grows: whoever declares less changes
nothing, so that of two that disagree the larger one holds. New partitions are on the list of queues before they are
counted: workers look at both, so that they know a partition before any client submits to it. If the counts are lost,
the list still tells workers and people where jobs are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from taskserver.domain.partitions import MOST_PARTITIONS, check_count, number_of, partition, partitions, queue_of
from taskserver.errors import BrokerError, ConfigError
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import PARTITIONS
from taskserver.store.queries import queues
from taskserver.store.queries.untrusted import is_queue_name
from taskserver.store.replies import grouped, text

GROWN = "grown"
"""The word on a queue's control channel that says that it has more partitions now."""


async def counts(broker: Broker) -> dict[str, int]:
    """The number of partitions of each queue that has several. What somebody else wrote there is passed over."""
    try:
        found = await broker.call(PARTITIONS, lambda line: line.call("ZRANGE", PARTITIONS, 0, -1, "WITHSCORES"))
    except BrokerError as error:
        if "WRONGTYPE" in str(error):  # the doctor tells of it
            return {}
        raise
    known = {text(name): float(count) for name, count in grouped(found, 2)}
    return {name: int(count) for name, count in known.items() if 1 < count <= MOST_PARTITIONS and _is_queue(name)}


async def all_of(broker: Broker) -> dict[str, list[str]]:
    """Every queue, by name, with its partitions."""
    listed: dict[str, list[str]] = {}
    for name in await queues.names(broker):
        listed.setdefault(queue_of(name), []).append(name)
    counted = await counts(broker)
    return {queue: joined(queue, listed.get(queue, ()), counted) for queue in sorted({*listed, *counted})}


async def of(broker: Broker, *names: str) -> list[str]:
    """The partitions of some queues, of all if none is named; the name of a partition stands for itself."""
    known = await all_of(broker)
    if not names:
        return [each for some in known.values() for each in some]
    return [each for name in names for each in known.get(name, [name])]


def joined(queue: str, listed: Iterable[str], counted: Mapping[str, int]) -> list[str]:
    """A queue's partitions: the first, those that are counted, and those that are only listed."""
    found = {queue, *listed, *partitions(queue, counted.get(queue, 1))}
    return sorted(found, key=number_of)


async def grow(broker: Broker, queue: str, count: int) -> int:
    """Let a queue have at least so many partitions; how many it has then.

    Raises:
        ConfigError: if it cannot have so many.
    """
    known = (await counts(broker)).get(queue, 1)
    if check_count(count) <= known:
        return known
    for number in range(count):
        await broker.prepare(partition(queue, number), again=True)
    await _pause_as_first(broker, queue, range(known, count))
    await broker.ask(PARTITIONS, lambda client: client.zadd(PARTITIONS, {queue: count}, gt=True))
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.publish(keys.control, GROWN))
    return max(count, (await counts(broker)).get(queue, count))


async def set_count(broker: Broker, queue: str, count: int) -> None:
    """Grow a queue to exactly so many partitions.

    Raises:
        ConfigError: if it has more.
    """
    known = await grow(broker, queue, count)
    if known > count:
        raise ConfigError(
            f"queue {queue!r} has {known} partitions, and they cannot become fewer: jobs are in them, and the ids that "
            "people hold name them. Use another queue for what shall have less"
        )


async def forget(broker: Broker, queue: str) -> None:
    """A queue is not used any more: forget how many partitions it had, unless one of them is still listed."""
    if not any(queue_of(name) == queue for name in await queues.names(broker)):
        await broker.ask(PARTITIONS, lambda client: client.zrem(PARTITIONS, queue))


def _is_queue(name: str) -> bool:
    return is_queue_name(name) and queue_of(name) == name


async def _pause_as_first(broker: Broker, queue: str, numbers: Iterable[int]) -> None:
    """A queue that is paused has no partition that is not."""
    first = broker.keys(queue)
    (paused,) = await broker.ask(first.prefix, lambda client: client.hmget(first.meta, ["paused"]))
    if paused is None:
        return
    for number in numbers:
        await _pause(broker, partition(queue, number))


async def _pause(broker: Broker, name: str) -> None:
    keys = broker.keys(name)
    await broker.ask(keys.prefix, lambda client: client.hset(keys.meta, "paused", "1"))
