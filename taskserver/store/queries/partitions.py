"""Turning a queue into its partitions, for whoever looks at queues.

The broker keeps a count for each queue that has more than one partition (``store/maintenance/partitioning.py`` writes
it). If the counts are lost, the list of queues still tells workers and people where jobs are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from taskserver.domain.partitions import MOST_PARTITIONS, number_of, partitions, queue_of
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import PARTITIONS
from taskserver.store.queries import queues
from taskserver.store.queries.untrusted import is_queue_name
from taskserver.store.replies import decode, grouped


async def counts(broker: Broker) -> dict[str, int]:
    """The number of partitions of each queue that has several. Counts that are not valid are skipped."""
    try:
        found = await broker.call(PARTITIONS, lambda scripts: scripts.call("ZRANGE", PARTITIONS, 0, -1, "WITHSCORES"))
    except BrokerError as error:
        if "WRONGTYPE" in str(error):  # the doctor reports it
            return {}
        raise
    known = {decode(name): float(count) for name, count in grouped(found, 2)}
    return {name: int(count) for name, count in known.items() if 1 < count <= MOST_PARTITIONS and _is_queue(name)}


async def by_queue(broker: Broker) -> dict[str, list[str]]:
    """Every queue, by name, with its partitions."""
    listed: dict[str, list[str]] = {}
    for name in await queues.names(broker):
        listed.setdefault(queue_of(name), []).append(name)
    counted = await counts(broker)
    return {queue: merge(queue, listed.get(queue, ()), counted) for queue in sorted({*listed, *counted})}


async def expand(broker: Broker, *names: str) -> list[str]:
    """The partitions of the named queues, or of all queues; the name of a partition is returned as it is."""
    known = await by_queue(broker)
    if not names:
        return [each for some in known.values() for each in some]
    return [each for name in names for each in known.get(name, [name])]


def merge(queue: str, listed: Iterable[str], counted: Mapping[str, int]) -> list[str]:
    """A queue's partitions: the first one, those that are counted, and those that are only listed."""
    found = {queue, *listed, *partitions(queue, counted.get(queue, 1))}
    return sorted(found, key=number_of)


def _is_queue(name: str) -> bool:
    return is_queue_name(name) and queue_of(name) == name
