"""Who is the janitor of a queue, and what goes with workers that are gone."""

from __future__ import annotations

from typing import Any

from taskserver.store.connection import Broker
from taskserver.store.replies import text


async def take_turn(broker: Broker, queue: str, worker: str, hold_ms: int) -> bool:
    """Whether this worker is the janitor; if so it stays it for ``hold_ms``, and others need not walk."""
    key = broker.keys(queue).janitor

    async def take(client: Any) -> bool:
        if await client.set(key, worker, nx=True, px=hold_ms):
            return True
        if await client.get(key) != worker.encode():
            return False
        await client.pexpire(key, hold_ms)
        return True

    return await broker.ask(key, take)


async def tidy(broker: Broker, queue: str) -> list[str]:
    """Take consumers of workers that are gone out of the groups; returns those workers."""
    return [text(name) for name in await broker.run("tidy", queue)]
