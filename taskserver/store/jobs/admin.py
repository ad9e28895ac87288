"""What people do to jobs and queues: cancel, run again, pause, resume, purge."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from taskserver.domain.ids import job_id
from taskserver.domain.job import State
from taskserver.domain.signing import Keyring
from taskserver.errors import JobConflict, JobNotFound, SignatureInvalid
from taskserver.store.broker import control
from taskserver.store.broker.connection import Broker
from taskserver.store.replies import decode

BATCH = 500
SIGNED_BATCH = 20
"""Fewer, for their whole messages are read."""
SPENT = "spent"
"""In place of a state: the job succeeded, and its message was not kept."""
UNSIGNED = "unsigned"
"""In place of a state: the job does not bear a signature that may be renewed."""

_REFUSALS = {
    UNSIGNED: "job {id} is not signed with any of this client's keys, so it cannot be signed again: "
    "submit the job again",
    SPENT: "job {id} succeeded, and its message was not kept: submit the job again, or set keep_messages for the "
    "workers to keep messages from now on",
}
_STATES = {state.encode(): state for state in State}


async def cancel(broker: Broker, queue: str, keys: Sequence[str]) -> list[State | None]:
    """Cancel jobs: those that have not begun end now, running ones are asked to end.

    Returns:
        The state of each afterwards; None for an unknown job.
    """
    answer = [word for batch in _batches(keys, BATCH) for word in await broker.run("cancel", queue, *batch)]
    return [_STATES.get(word) for word in answer]


async def cancel_one(broker: Broker, queue: str, key: str) -> State:
    """Cancel one job; its state afterwards.

    Raises:
        JobNotFound: if the id is unknown, or the record has expired.
    """
    (state,) = await cancel(broker, queue, [key])
    if state is None:
        raise JobNotFound(job_id(queue, key))
    return state


async def run_again(broker: Broker, queue: str, key: str, keyring: Keyring | None) -> None:
    """Run one ended job again; as ``requeue``.

    Raises:
        JobNotFound: if the id is unknown, or the record has expired.
        JobConflict: if it has not ended, its message was not kept, or its signature may not be renewed.
    """
    (reply,) = await requeue(broker, queue, [key], keyring)
    id_ = job_id(queue, key)
    if reply == "gone":
        raise JobNotFound(id_)
    if reply:
        raise JobConflict(
            id_,
            _REFUSALS.get(reply, "job {id} is {state}: only a job that has ended can be run again").format(
                id=id_, state=reply
            ),
        )


async def requeue(broker: Broker, queue: str, keys: Sequence[str], keyring: Keyring | None = None) -> list[str]:
    """Run ended jobs again: attempts from zero, history kept.

    Args:
        broker: Where.
        queue: Their queue.
        keys: Which.
        keyring: Signs their messages anew, those that bear a signature of its keys already, be it an expired one. What
            somebody else wrote must not get a good signature by this.

    Returns:
        For each '' if it is queued now; else its state, ``gone`` (record or message), ``SPENT``, or ``UNSIGNED``.
    """
    replies: list[str] = []
    for batch in _batches(keys, BATCH if keyring is None else SIGNED_BATCH):
        seals = [b""] * len(batch) if keyring is None else await _seals(broker, queue, batch, keyring)
        ready = [word for pair in zip(batch, seals, strict=True) if pair[1] is not None for word in pair]
        answers = iter(await _run_once(broker, "requeue", queue, *ready) if ready else ())
        replies += [UNSIGNED if seal is None else decode(next(answers)) for seal in seals]
    return replies


async def _seals(broker: Broker, queue: str, keys: Sequence[str], keyring: Keyring) -> list[bytes | None]:
    """A fresh seal for each job; None where the old one does not fit, empty where there is no message any more.

    A message that is exchanged between this and the requeue does not fit its seal, and workers refuse it.
    """
    seals: list[bytes | None] = []
    now_ms = time.time_ns() // 1_000_000
    for key, message in zip(keys, await broker.run("messages", queue, *keys), strict=True):
        try:
            seals.append(message and keyring.seal(queue, key, keyring.open(queue, key, message, None), now_ms))
        except SignatureInvalid:
            seals.append(None)
    return seals


async def pause(broker: Broker, queue: str) -> None:
    """Let no worker claim from the queue until ``resume``; running jobs go on."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.hset(keys.meta, "paused", "1"))


async def resume(broker: Broker, queue: str) -> None:
    """Let workers claim again, at once."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.hdel(keys.meta, "paused"))
    await control.publish(broker, queue, control.RESUME)


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


async def delete_dead(broker: Broker, queue: str, keys: Sequence[str]) -> int:
    """Delete dead letters with everything that is kept of them; jobs that are none any more are left alone.

    Returns:
        How many there were.
    """
    deleted: int = sum([await _run_once(broker, "delete_dead", queue, *batch) for batch in _batches(keys, BATCH)])
    return deleted


async def _run_once(broker: Broker, script: str, queue: str, *args: object) -> Any:
    """Run a script that gives the same answer when it is repeated: the call has a name by which it is known again."""
    return await broker.run(script, queue, secrets.token_hex(8), *args)


def _batches(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """A script call holds up the whole server, and takes a few thousand arguments at most."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]
