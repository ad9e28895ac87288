"""The lookout sees when the broker's keys have moved past what this version of taskserver knows.

Somebody has upgraded, and what this worker would write from then on, the others could not read: it has to end.
"""

from __future__ import annotations

from collections.abc import Callable

from taskserver.errors import BrokerUnsuitable
from taskserver.store.broker.connection import Broker
from taskserver.worker.service import LoopService

LOOK_SECONDS = 5.0
"""How often it is looked: one short read."""


class SchemaWatcher(LoopService):
    """Calls ``outgrown`` with the reason, once this version cannot work with the broker's keys any more."""

    name = "lookout"

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
