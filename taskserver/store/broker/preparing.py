"""Preparing queues: creating their streams and consumer groups, and adding them to the list of queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from taskserver.errors import BrokerFull
from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.keys import QUEUES, Keys
from taskserver.store.scripts import script

Call = Callable[[str, Callable[[ScriptConnection], Awaitable[Any]]], Awaitable[Any]]
"""``Broker.call``."""


class QueuePreparer:
    """Prepares queues.

    Attributes:
        prepared: The queues that this process has prepared.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self.prepared: set[str] = set()

    async def prepare(self, keys: Keys) -> None:
        """Create what is missing of a queue; as ``Broker.prepare``."""
        await self._call(keys.prefix, lambda scripts: scripts.run(script("prepare"), keys.of_scripts))
        with suppress(BrokerFull):
            await self._call(QUEUES, lambda scripts: scripts.call("SADD", QUEUES, keys.queue))
            self.prepared.add(keys.queue)
