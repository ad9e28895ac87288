"""Who is the janitor of a queue, and what goes with workers that are gone."""

from __future__ import annotations

from taskserver.store.connection import Broker
from taskserver.store.replies import text


async def take_turn(broker: Broker, queue: str, worker: str, hold_ms: int) -> bool:
    """Whether this worker is the janitor; if so it stays it for ``hold_ms``, and others need not walk."""
    return bool(await broker.run("turn", queue, worker, hold_ms))


async def tidy(broker: Broker, queue: str) -> list[str]:
    """Take consumers of workers that are gone out of the groups; returns those workers."""
    return [text(name) for name in await broker.run("tidy", queue)]
