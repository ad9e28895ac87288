"""Messages on a queue's control channel: what its workers should know before their next heartbeat.

Pub/sub loses messages, so each of them only saves time: workers find out by themselves, or the sender repeats it.
Scripts publish ``cancel`` and ``due`` on the same channel (``lua/prelude/entries.lua``).
"""

from __future__ import annotations

import msgspec

from taskserver.domain.fleet import FleetCommand
from taskserver.store.broker.connection import Broker

RESUME = "resume"
"""The queue is no longer paused."""
GROWN = "grown"
"""The queue has more partitions than before."""
COMMAND = "order"
"""A ``FleetCommand`` follows, as JSON."""


async def publish(broker: Broker, queue: str, message: str) -> None:
    """Send a message to the workers of a queue that are listening."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.publish(keys.control, message))


async def send_command(broker: Broker, queue: str, command: FleetCommand) -> None:
    """Send a command to the workers of a queue. It may get lost: repeat it until it has been carried out."""
    await publish(broker, queue, f"{COMMAND} {msgspec.json.encode(command).decode()}")
