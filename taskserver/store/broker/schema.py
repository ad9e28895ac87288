"""The schema of a broker's keys, and whether this version of taskserver can work with it.

Its number rises when a version can no longer share the keys with the version before. One key holds it, with the oldest
version of taskserver that knows it; it is checked once per connection, and by each worker now and then. A broker
without one is of the first schema, which its first user records.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

from redis import exceptions as redis_errors

from taskserver.errors import BrokerUnsuitable
from taskserver.store.keys import SCHEMA
from taskserver.version import DISTRIBUTION

NUMBER = 1
"""The schema that this version reads and writes; ``store/keys.py`` describes it."""
SINCE = "0.1.0"
"""The first version of taskserver that knows this schema."""
FIX = "taskserver doctor --fix"
LENGTH = 64
"""Maximum number of characters that are read from the key; ours are fewer."""

Command = Callable[..., Awaitable[Any]]
"""Sends a command, given as its arguments, and returns the server's raw answer."""

_STAMP = re.compile(r"([1-9]\d{0,5}) (\d{1,6}(?:\.\d{1,6}){1,3})", re.ASCII)


class Schema(NamedTuple):
    """A schema of keys: its number, and the first version of taskserver that knows it."""

    number: int
    since: str

    @property
    def supported(self) -> bool:
        """Whether this version of taskserver can work with it."""
        return self.number <= NUMBER

    def __str__(self) -> str:
        return f"{self.number} {self.since}"

    @classmethod
    def parse(cls, text: str) -> Schema | None:
        """Parse the content of the key; None if it is not valid."""
        found = _STAMP.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


CURRENT = Schema(NUMBER, SINCE)


class SchemaDamaged(BrokerUnsuitable):
    """The schema's key holds something else."""


async def check(command: Command, shown: str) -> None:
    """Refuse a broker whose keys this version does not know; record their schema if nobody has yet.

    Args:
        command: Sends a command to the server that holds the key.
        shown: The broker, as errors name it.

    Raises:
        BrokerUnsuitable: with the command to run.
        redis.RedisError: if the server cannot be asked.
    """
    found = await read(command, shown)
    if found is None:
        # Those who may not write, or cannot now, leave it to others: without a record it is the first schema.
        with suppress(redis_errors.ResponseError):
            found = _parse(await command("SET", SCHEMA, str(CURRENT), "NX", "GET"), shown)
    if found is not None and not found.supported:
        raise BrokerUnsuitable(
            f"the broker at {shown} has schema {found.number}, but this version of taskserver supports schema "
            f"{NUMBER}: pip install --upgrade '{DISTRIBUTION}>={found.since}'"
        )


async def read(command: Command, shown: str) -> Schema | None:
    """The recorded schema, even if this version does not know it; None if there is no record.

    Raises:
        SchemaDamaged: if the record is not valid.
        redis.RedisError: if the server cannot be asked.
    """
    try:
        return _parse(await command("GETRANGE", SCHEMA, 0, LENGTH), shown)  # every role may do this, unlike GET
    except redis_errors.ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        raise SchemaDamaged(_damaged(shown, "a value of the wrong type")) from None


async def write(command: Command) -> None:
    """Record this version's schema over whatever is there."""
    await command("SET", SCHEMA, str(CURRENT))


def _parse(stamp: bytes | None, shown: str) -> Schema | None:
    if not stamp:
        return None
    found = Schema.parse(stamp.decode("utf-8", "backslashreplace"))
    if found is None:
        raise SchemaDamaged(_damaged(shown, ascii(stamp.decode("utf-8", "replace"))))
    return found


def _damaged(shown: str, what: str) -> str:
    return f"the broker at {shown} has no valid schema: {SCHEMA} holds {what}: {FIX}"
