"""Which layout of keys the broker holds, and whether this version of taskserver can work with it.

The number is raised when a version can no longer work beside the one before, on the same keys. It stands in one key,
with the least version of taskserver that knows it, and is looked at once a connection and by each worker now and then.
A broker that has none is of the first layout: whoever uses it first writes that down.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

from redis import exceptions as redis_errors

from taskserver.errors import BrokerUnsuitable
from taskserver.store.keys import SCHEMA

NUMBER = 1
"""The layout that this version reads and writes; ``store/keys.py`` describes it."""
SINCE = "0.1.0"
"""The first version of taskserver that knows this layout."""
FIX = "taskserver doctor --fix"
LENGTH = 64
"""Characters that are read of what stands in the key; ours are fewer."""

Command = Callable[..., Awaitable[Any]]
"""Sends a command, given as its words, and returns the answer as the server gave it."""

_STAMP = re.compile(r"([1-9]\d{0,5}) (\d{1,6}(?:\.\d{1,6}){1,3})", re.ASCII)


class Schema(NamedTuple):
    """A layout of keys: its number, and the first version of taskserver that knows it."""

    number: int
    since: str

    def __str__(self) -> str:
        return f"{self.number} {self.since}"

    @classmethod
    def read(cls, text: str) -> Schema | None:
        """What stands in the key; None if that is none of ours."""
        found = _STAMP.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


OURS = Schema(NUMBER, SINCE)


class SchemaDamaged(BrokerUnsuitable):
    """What stands in the schema's key is none."""


async def check(command: Command, shown: str) -> None:
    """Refuse a broker whose keys this version does not know; write down what they are where nobody has yet.

    Args:
        command: Sends a command to the server that holds the key.
        shown: The broker, as errors name it.

    Raises:
        BrokerUnsuitable: with the command to run.
        redis.RedisError: if the server cannot be asked.
    """
    try:
        stamp = await command("GETRANGE", SCHEMA, 0, LENGTH)  # which every role may do, other than GET
        if not stamp:
            # Whoever may not write, or cannot just now, leaves it to others: what is missing is of the first layout.
            with suppress(redis_errors.ResponseError):
                stamp = await command("SET", SCHEMA, str(OURS), "NX", "GET")
    except redis_errors.ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        raise SchemaDamaged(_damaged(shown, "something that is no text")) from None
    _judge(stamp or str(OURS).encode(), shown)


async def write(command: Command) -> None:
    """Write this version's schema over whatever is there."""
    await command("SET", SCHEMA, str(OURS))


def _judge(stamp: bytes, shown: str) -> None:
    found = Schema.read(stamp.decode("utf-8", "backslashreplace"))
    if found is None:
        raise SchemaDamaged(_damaged(shown, ascii(stamp.decode("utf-8", "replace"))))
    if found.number > NUMBER:
        raise BrokerUnsuitable(
            f"the broker at {shown} holds keys of schema {found.number}, and this version of taskserver knows schema "
            f"{NUMBER}: pip install --upgrade 'taskserver>={found.since}'"
        )


def _damaged(shown: str, what: str) -> str:
    return f"the broker at {shown} does not tell its schema, for {SCHEMA} holds {what}: {FIX}"
