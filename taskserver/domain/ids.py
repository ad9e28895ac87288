"""Job ids: sortable by time, unguessable, and enough by themselves to find the job.

``<queue>-<24 characters>``, for example ``default-01jd3kq8r0m4vv9tq2h5n7c1``. The 24 characters are base 32
(RFC 4648 section 7, lower case), 5 bits each:

=========  ============================================================================
first 10   milliseconds since 1970 by the submitter's clock (50 bits), so ids sort by time
next 6     the submitter's *route*: the channel on which it is notified of its jobs
last 8     random
=========  ============================================================================

A job submitted with an idempotency key gets its 24 characters from a hash of the key and a leading ``k``:
the same key in the same queue *is* the same job, so nothing else has to remember the key. Nobody knows from such an id
who has submitted the job, perhaps several did, so its route is one of 1,024 that all submitters share: its first three
characters.
"""

from __future__ import annotations

import hashlib
import os
import time
from base64 import b32hexencode
from functools import lru_cache
from typing import NamedTuple

from taskserver.domain.partitions import check_partition_name
from taskserver.errors import ConfigError, JobIdInvalid

LENGTH = 24
AT_ONCE = 64
ROUTE = slice(10, 16)
SHARED_ROUTE = slice(0, 3)
"""Where a key contains its route."""
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_LETTERS = (_ALPHABET * 8).encode()
"""The letter for each of the 256 bytes, for random letters."""


class JobRef(NamedTuple):
    """A job: its queue, or the queue's partition, and its key, which is the id without the queue."""

    queue: str
    key: str

    @property
    def id(self) -> str:
        """The whole id."""
        return f"{self.queue}-{self.key}"


def new_route() -> str:
    """A random route: 6 characters that lead notifications of a submitter's jobs back to it."""
    return _random(6)


class KeyMaker:
    """Makes new keys: 24 characters that start with the time and contain ``route``.

    Random characters are fetched for many keys at a time: for a single key they cost more than all the rest.

    Attributes:
        route: The route in each key.
    """

    __slots__ = ("_head", "_now", "_owner", "_spare", "route")

    def __init__(self, route: str) -> None:
        self.route = route
        self._now = 0
        self._head = ""
        self._spare: list[str] = []
        self._owner = 0

    def __call__(self) -> str:
        """A new key."""
        spare = self._spare
        if not spare or self._owner != os.getpid():  # a forked process must not use its parent's characters
            self._owner = os.getpid()
            letters = _random(8 * AT_ONCE)
            spare = self._spare = [letters[start : start + 8] for start in range(0, 8 * AT_ONCE, 8)]
        now = time.time_ns() // 1_000_000
        if now != self._now:
            self._now, self._head = now, _time(now) + self.route
        return self._head + spare.pop()


def key_for(idempotency_key: str) -> str:
    """The key of the job with this idempotency key: the same idempotency key gives the same 24 characters."""
    digest = hashlib.blake2b(idempotency_key.encode("utf-8", "surrogatepass"), digest_size=15).digest()
    return "k" + _encode(digest)[1:]


def job_id(queue: str, key: str) -> str:
    """The whole id of the job with this key in this queue."""
    return f"{queue}-{key}"


def parse(job_id: str) -> JobRef:
    """Split a whole id into its queue, or the queue's partition, and its key.

    Raises:
        JobIdInvalid: if ``job_id`` does not have the form of a job id.
    """
    queue, dash, key = job_id.rpartition("-")
    if not dash or len(key) != LENGTH or not key.isalnum() or not key.isascii():
        raise JobIdInvalid(job_id, f"expected a queue name, '-' and {LENGTH} letters or digits")
    try:
        return JobRef(check_partition_name(queue), key)
    except ConfigError as error:
        raise JobIdInvalid(job_id, str(error)) from None


def route_of(key: str) -> str:
    """The route in a key: the name of the channel on which those who await the job are notified."""
    return key[SHARED_ROUTE] if key[0] == "k" else key[ROUTE]


def _time(milliseconds: int) -> str:
    """Ten digits of base 32; the last two change with every millisecond, the first eight once in 1024."""
    return _time_high(milliseconds >> 10) + _ALPHABET[(milliseconds >> 5) & 31] + _ALPHABET[milliseconds & 31]


@lru_cache(maxsize=4)
def _time_high(value: int) -> str:
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(35, -1, -5))


def _random(count: int) -> str:
    return os.urandom(count).translate(_LETTERS).decode()


def _encode(raw: bytes) -> str:
    return b32hexencode(raw).decode().lower()
