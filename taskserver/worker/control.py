"""Control: hears what cannot wait for the next heartbeat: a cancelled job, an earlier due time, an order to stop.

A word that is lost costs little: cancellations come with the heartbeat's answer too, orders are repeated until they are
seen to be carried out, and the others are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from taskserver.aio import cancel_and_wait
from taskserver.domain.fleet import FleetCommand
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.subscription import Subscription
from taskserver.worker.service import LoopService, log


class Control(LoopService):
    """Listens to the control channels of a worker's queues.

    Args:
        broker: Where.
        handlers: For each queue, what to do for each word; it gets what follows the word.
    """

    name = "control"

    def __init__(self, broker: Broker, handlers: Mapping[str, Mapping[str, Callable[[str], None]]]) -> None:
        super().__init__()
        self._broker = broker
        self._listener = Subscription(broker)
        self._handlers = {broker.keys(queue).control: words for queue, words in handlers.items()}

    async def turn(self) -> None:
        """Listen until the connection breaks."""
        await self._listener.subscribe(self._handlers)
        async for channel, message in self._listener.messages():
            if self.stopping:
                return
            word, _, rest = message.decode("utf-8", "replace").partition(" ")
            handler = self._handlers[channel].get(word)
            if handler:
                handler(rest)
            elif word:
                log.debug("unknown word on %s: %s", channel, word)

    async def hear(self, handlers: Mapping[str, Mapping[str, Callable[[str], None]]]) -> None:
        """Listen to the channels of more queues."""
        self._handlers |= {self._broker.keys(queue).control: words for queue, words in handlers.items()}
        if self._task:
            with suppress(BrokerError):  # whoever listens connects and subscribes to everything anew
                await self._listener.subscribe(self._handlers)

    async def stop(self) -> None:
        """Stop listening."""
        if self._task:
            self._stopping.set()
            await cancel_and_wait(self._task)  # nothing is lost with a read of news
        await self._listener.close()


def read_order(text: str) -> FleetCommand | None:
    """An order as it came over the channel, where anybody may write anything; None if it is none."""
    try:
        return msgspec.json.decode(text, type=FleetCommand)
    except msgspec.MsgspecError:
        log.debug("not an order: %s", text[:200])
        return None
