"""Watching the schema: sees when the broker's keys have become newer than this version of taskserver knows.

Then somebody has upgraded, and the others could not read what this worker writes: it has to end.
"""

from __future__ import annotations

from collections.abc import Callable

from taskserver.errors import BrokerUnsuitable
from taskserver.store.broker.connection import Broker
from taskserver.worker.service import LoopService

LOOK_SECONDS = 5.0
"""Between two looks; each is one short read."""


class SchemaWatcher(LoopService):
    """Calls ``outgrown`` with the reason once the broker's keys are too new for this version."""

    name = "schema_watcher"

    def __init__(self, broker: Broker, outgrown: Callable[[BrokerUnsuitable], None]) -> None:
        super().__init__()
        self._broker = broker
        self._outgrown = outgrown

    async def turn(self) -> None:
        """Look once, and rest."""
        try:
            await self._broker.check_schema()
        except BrokerUnsuitable as error:
            self._outgrown(error)
        await self.rest(LOOK_SECONDS)
