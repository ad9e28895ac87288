"""What people do to jobs and queues: cancel, run again, pause, resume, purge."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from taskserver.domain.job import State
from taskserver.store.connection import Broker

BATCH = 500


async def cancel(broker: Broker, queue: str, keys: Sequence[str]) -> list[State | None]:
    """Cancel jobs: those that have not begun end now, running ones are asked to end.

    Returns:
        The state of each afterwards; None for an unknown job.
    """
    answer = [word for batch in _batches(keys) for word in await broker.run("cancel", queue, *batch)]
    return [State(word.decode()) if word else None for word in answer]


async def requeue(broker: Broker, queue: str, keys: Sequence[str]) -> list[str]:
    """Run ended jobs again: attempts from zero, history kept.

    Returns:
        For each '' if it is queued now; else its state, or ``gone`` if its record or message is.
    """
    answer = [word for batch in _batches(keys) for word in await _run_once(broker, "requeue", queue, *batch)]
    return [word.decode() for word in answer]


async def pause(broker: Broker, queue: str) -> None:
    """Let no worker claim from the queue until ``resume``; running jobs go on."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.hset(keys.meta, "paused", "1"))


async def resume(broker: Broker, queue: str) -> None:
    """Let workers claim again, at once."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.hdel(keys.meta, "paused"))
    await broker.ask(keys.prefix, lambda client: client.publish(keys.control, "resume"))


async def purge(broker: Broker, queue: str) -> int:
    """Cancel every job that waits in the queue's lanes or for its time; running jobs go on.

    Returns:
        How many.
    """
    total, seen = 0, 1
    while seen:
        seen, cancelled = await _run_once(broker, "purge", queue, BATCH)
        total += cancelled
    return total


async def bury_for_good(broker: Broker, queue: str, keys: Sequence[str]) -> int:
    """Delete dead letters with everything that is kept of them; jobs that are none any more are left alone.

    Returns:
        How many there were.
    """
    deleted: int = sum([await _run_once(broker, "bury", queue, *batch) for batch in _batches(keys)])
    return deleted


async def _run_once(broker: Broker, script: str, queue: str, *args: object) -> Any:
    """Run a script that gives the same answer when it is repeated: the call has a name by which it is known again."""
    return await broker.run(script, queue, secrets.token_hex(8), *args)


def _batches(keys: Sequence[str]) -> list[Sequence[str]]:
    """A script call holds up the whole server, and takes a few thousand arguments at most."""
    return [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
