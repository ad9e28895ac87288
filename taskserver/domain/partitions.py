"""Partitions: the parts of a queue, each with a hash slot of its own, so that a queue can span several servers.

To the store a partition is a queue like any other. The first partition of ``mail`` is ``mail`` itself, the others are
``mail~1``, ``mail~2`` and so on; people see ``mail``. So a queue grows without moving any job, and a job's id
(``mail~3-01k82…``) contains its partition. Names that users choose cannot contain ``~``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from taskserver.domain.names import check_queue_name
from taskserver.errors import ConfigError

MOST_PARTITIONS = 256
"""Maximum number of partitions of a queue: each worker has a connection for each of them."""
SEPARATOR = "~"

_NUMBER = re.compile(r"[1-9][0-9]{0,2}")


def partition(queue: str, number: int) -> str:
    """The name of a queue's partition, by its number from 0."""
    return f"{queue}{SEPARATOR}{number}" if number else queue


def partitions(queue: str, count: int) -> list[str]:
    """The names of a queue's first ``count`` partitions."""
    return [partition(queue, number) for number in range(count)]


@lru_cache(maxsize=1024)  # each job asks, of few partitions
def queue_of(partition: str) -> str:
    """The queue that a partition belongs to."""
    return partition.partition(SEPARATOR)[0]


def number_of(partition: str) -> int:
    """The number of a partition, from 0."""
    return int(partition.partition(SEPARATOR)[2] or 0)


def check_partition_name(name: str) -> str:
    """Return ``name`` if it is a valid name of a partition or queue.

    Raises:
        ConfigError: if it is not.
    """
    queue, separator, number = name.partition(SEPARATOR)
    if separator and not (_NUMBER.fullmatch(number) and int(number) < MOST_PARTITIONS):
        raise ConfigError(
            f"{name!r} is not a valid partition name: "
            f"'{SEPARATOR}' must be followed by a number from 1 to {MOST_PARTITIONS - 1}"
        )
    check_queue_name(queue)
    return name


def check_count(count: int) -> int:
    """Return ``count`` if a queue may have this number of partitions.

    Raises:
        ConfigError: if it may not.
    """
    if not 1 <= count <= MOST_PARTITIONS:
        raise ConfigError(f"the number of partitions must be between 1 and {MOST_PARTITIONS}, not {count}")
    return count


def number_for(key: str, count: int) -> int:
    """The number of the partition for a job whose key was made from an idempotency key (``domain.ids``).

    When a queue grows from N to M partitions, 1 - N/M of the keys move, all of them to new partitions.
    """
    return jump(int(key[1:13], 32), count)


def jump(key: int, buckets: int) -> int:
    """Jump consistent hash: a bucket from 0 for a key of up to 64 bits.

    Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014), https://arxiv.org/abs/1406.2294
    """
    at, next_ = -1, 0
    while next_ < buckets:
        at = next_
        key = (key * 2862933555777941757 + 1) & 0xFFFF_FFFF_FFFF_FFFF
        next_ = int((at + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return at


__all__ = [
    "MOST_PARTITIONS",
    "check_count",
    "check_partition_name",
    "jump",
    "number_for",
    "number_of",
    "partition",
    "partitions",
    "queue_of",
]
