"""Control: receives what cannot wait for the next heartbeat: a cancelled job, an earlier due time, a command to stop.

Commands are obeyed only on the channels for commands: on the control channels every producer may publish.

A message that is lost costs little: cancellations come with the heartbeat's answer too, commands are repeated until
they are seen to be carried out, and everything else is looked for from time to time.
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

Handlers = Mapping[str, Callable[[str], None]]
"""What to call for each control message, by its name; it gets what follows the name."""


class Control(LoopService):
    """Listens to the channels of a worker's partitions.

    Args:
        broker: Where.
        common: Handlers of messages that concern the whole worker, on whichever control channel they come.
        commands: Handlers of the messages on the channels for commands.
    """

    name = "control"

    def __init__(self, broker: Broker, common: Handlers, commands: Handlers) -> None:
        super().__init__()
        self._broker = broker
        self._subscription = Subscription(broker)
        self._common = common
        self._commands = commands
        self._handlers: dict[str, Handlers] = {}

    async def turn(self) -> None:
        """Listen until the connection breaks."""
        await self._subscription.subscribe(self._handlers)
        async for channel, message in self._subscription.messages():
            if self.stopping:
                return
            name, _, rest = message.decode("utf-8", "replace").partition(" ")
            handler = self._handlers[channel].get(name)
            if handler:
                handler(rest)
            elif name:
                log.debug("unknown message on channel %s: %s", channel, name)

    async def listen(self, handlers: Mapping[str, Handlers]) -> None:
        """Listen to the channels of more partitions.

        Args:
            handlers: By partition, the handlers of messages on its control channel that concern it alone.
        """
        for name, theirs in handlers.items():
            keys = self._broker.keys(name)
            self._handlers |= {keys.control: {**self._common, **theirs}, keys.commands: self._commands}
        if self._task:
            with suppress(BrokerError):  # a connection that is lost subscribes to everything again when it is back
                await self._subscription.subscribe(self._handlers)

    async def stop(self) -> None:
        """Stop listening."""
        if self._task:
            self._stopping.set()
            await cancel_and_wait(self._task)  # no job is lost with a read of control messages
        await self._subscription.close()


def read_command(text: str) -> FleetCommand | None:
    """Read a command from a channel, where anybody may write anything; None if it is none."""
    try:
        return msgspec.json.decode(text, type=FleetCommand)
    except msgspec.MsgspecError:
        log.debug("not a command: %s", text[:200])
        return None
