"""Messages to the workers of a queue: what they should know before their next heartbeat, and fleet commands.

Pub/sub loses messages, so each of them only saves time: workers find out by themselves, or the sender repeats it.
Scripts publish ``cancel``, ``due`` and ``reclaim`` on the control channel too (``lua/prelude/entries.lua``), with the
rights of their callers, and these may be producers. So nothing on it has authority: each message only makes a worker
look at the broker again, or cancels a job. Commands have a channel of their own, for which producers and dashboards
have no rights.
"""

from __future__ import annotations

from typing import Any

import msgspec

from taskserver.domain.fleet import FleetCommand
from taskserver.store.broker.connection import Broker

RESUME = "resume"
"""The queue is no longer paused."""
LISTENING = ""
"""Sent by nobody: the worker listens from now on, and what was sent before is lost."""
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
    keys, message = broker.keys(queue), f"{COMMAND} {msgspec.json.encode(command).decode()}"

    async def publish_both(client: Any) -> None:
        await client.publish(keys.commands, message)
        await client.publish(keys.control, message)  # workers of the version before listen there; others ignore it

    await broker.ask(keys.prefix, publish_both)
