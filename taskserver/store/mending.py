"""Finding what nothing else would: jobs without a wake-up call, and consumers of workers that are gone."""

from __future__ import annotations

from typing import Any, NamedTuple

from taskserver.store.connection import Broker
from taskserver.store.reading import page_of_keys
from taskserver.store.replies import text


class Page(NamedTuple):
    """One step of the walk over a queue's jobs: where to go on (0: it is through), and the jobs that were mended."""

    cursor: int
    mended: list[str]


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


async def mend_page(broker: Broker, queue: str, cursor: int) -> Page:
    """Look at one page of jobs from ``cursor`` (0 to begin), and wake those that nothing else would.

    Raises:
        GroupMissing: if the queue's groups have to be made anew first.
    """
    cursor, keys = await page_of_keys(broker, queue, cursor)
    answer = await broker.run("mend", queue, *keys) if keys else []
    return Page(cursor, [text(key) for key in answer])


async def tidy(broker: Broker, queue: str) -> list[str]:
    """Take consumers of workers that are gone out of the groups; returns those workers."""
    return [text(name) for name in await broker.run("tidy", queue)]
