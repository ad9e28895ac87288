"""Transitions that no running attempt asks for: lost leases, lost claims, due times, expiry; and a worker's leaving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskserver.store.broker.connection import Broker
from taskserver.store.replies import decode, decode_pairs

BATCH = 100
RECALL_PAGE = 1_000
"""Maximum number of entries of a lane that one call looks at, while the server does nothing else."""


class LostJob(NamedTuple):
    """A job that was taken back: its key, and the worker that lost it (empty if no attempt had begun)."""

    key: str
    worker: str


class Reclaimed(NamedTuple):
    """What a look at the leases of a queue has brought.

    Attributes:
        is_reclaimer: Whether this worker is the reclaimer now; if another one is, it has not looked.
        next_ms: Milliseconds after which to look again; 0 if there is more to look at.
        lost: The jobs that are queued again.
    """

    is_reclaimer: bool
    next_ms: int
    lost: list[LostJob]


class Due(NamedTuple):
    """How many jobs were moved, and milliseconds until the next one is due; None if there is none."""

    moved: int
    next_ms: int | None


async def reclaim(broker: Broker, queue: str, worker: str, lease_ms: int, *, patient: bool = True) -> Reclaimed:
    """Take back jobs whose workers are gone, or have not renewed them for their lease; one batch of them.

    Args:
        broker: Where.
        queue: Which queue.
        worker: The worker that does so.
        lease_ms: Its own lease. Workers with the same or a longer one leave it to this one for two thirds of it. It
            also stands for the lease of a worker whose snapshot cannot be read.
        patient: Give live workers time to renew after the broker was away.
    """
    mode = "patient" if patient else "now"
    is_reclaimer, next_ms, lost = await broker.run("reclaim", queue, worker, lease_ms, BATCH, mode)
    return Reclaimed(bool(is_reclaimer), next_ms, [LostJob(key, loser) for key, loser in decode_pairs(lost)])


async def recall(broker: Broker, queue: str, worker: str, running: Sequence[str]) -> list[str]:
    """Give back the jobs of a claim whose answer was lost.

    Args:
        broker: Where.
        queue: Which queue.
        worker: The worker that claimed.
        running: Keys of the jobs that it knows of.

    Returns:
        The keys of the jobs that are queued again; no attempt is spent.
    """
    returned: list[str] = []
    lane, first = 1, "-"
    while lane:
        lane, first, keys = await broker.run("recall", queue, worker, RECALL_PAGE, lane, first, *running)
        returned += map(decode, keys)
    return returned


async def promote(broker: Broker, queue: str) -> Due:
    """Queue delayed jobs that are due, one batch of them."""
    return _due(await broker.run("promote", queue, BATCH))


async def expire(broker: Broker, queue: str) -> Due:
    """End jobs that were not started in time, one batch of them."""
    return _due(await broker.run("expire", queue, BATCH))


async def leave(broker: Broker, queue: str, worker: str) -> None:
    """Remove a stopped worker from the queue's groups, except where entries are still pending for it."""
    await broker.run("leave", queue, worker)


def _due(answer: list[int]) -> Due:
    moved, next_ms = answer
    return Due(moved, None if next_ms < 0 else next_ms)
