"""What brings jobs back or ends them without a worker asking: lost leases, due times, expiry, departures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskserver.store.broker.connection import Broker
from taskserver.store.replies import decode, decode_pairs

BATCH = 100
RECALLED = 10_000


class Lost(NamedTuple):
    """A job taken back: its key, and the worker whose lease ran out (empty if no attempt had begun)."""

    key: str
    worker: str


class Due(NamedTuple):
    """How many jobs moved, and milliseconds until the next one is due; None if none waits."""

    moved: int
    next_ms: int | None


async def reclaim(broker: Broker, queue: str, worker: str, lease_ms: int, hold_ms: int) -> list[Lost] | None:
    """Take back jobs whose lease was not renewed for ``lease_ms``.

    Args:
        broker: Where.
        queue: Which queue.
        worker: Who sweeps.
        lease_ms: The lease.
        hold_ms: For how long other workers leave the sweep to this one.

    Returns:
        The jobs that are queued again; None where another worker is the sweeper.
    """
    answer = await broker.run("reclaim", queue, worker, lease_ms, hold_ms, BATCH)
    if answer is None:
        return None
    return [Lost(key, loser) for key, loser in decode_pairs(answer)]


async def recall(broker: Broker, queue: str, worker: str, running: Sequence[str]) -> list[str]:
    """Give back what a claim that was not answered may have given to a worker.

    Args:
        broker: Where.
        queue: Which queue.
        worker: Whose claim.
        running: Keys of the jobs that it knows it runs.

    Returns:
        The keys of the jobs that are queued again, no attempt spent.
    """
    return [decode(key) for key in await broker.run("recall", queue, worker, RECALLED, *running)]


async def promote(broker: Broker, queue: str) -> Due:
    """Put delayed jobs whose time has come back into their lanes, a batch at a time."""
    return _due(await broker.run("promote", queue, BATCH))


async def expire(broker: Broker, queue: str) -> Due:
    """End jobs that were not started in time, a batch at a time."""
    return _due(await broker.run("expire", queue, BATCH))


async def leave(broker: Broker, queue: str, worker: str) -> None:
    """Take a stopped worker out of the queue's groups, except where entries are still pending for it."""
    await broker.run("leave", queue, worker)


def _due(answer: list[int]) -> Due:
    moved, next_ms = answer
    return Due(moved, None if next_ms < 0 else next_ms)
