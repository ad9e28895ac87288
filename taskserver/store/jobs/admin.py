"""What people do to jobs and queues: cancel, requeue, delete, pause, resume, purge."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from taskserver.domain.ids import job_id
from taskserver.domain.job import State
from taskserver.domain.signing import Keyring
from taskserver.errors import BrokerError, JobConflict, JobNotFound, SignatureInvalid
from taskserver.store.broker import control
from taskserver.store.broker.connection import Broker
from taskserver.store.replies import decode

BATCH = 500
SPENT = "spent"
"""Instead of a state: the job succeeded, and its message was not kept."""
UNSIGNED = "unsigned"
"""Instead of a state: the job has no signature that may be renewed."""

_REFUSALS = {
    UNSIGNED: "job {id} is not signed with any of this client's keys, so it cannot be signed again: "
    "submit the job again",
    SPENT: "job {id} succeeded, and its message was not kept: submit the job again, or set keep_messages for the "
    "workers to keep messages from now on",
}
_STATES = {state.encode(): state for state in State}


async def cancel(broker: Broker, queue: str, keys: Sequence[str]) -> list[State | None]:
    """Cancel jobs: those that have not started end now, running ones are asked to stop.

    Returns:
        The state of each job afterwards; None for an unknown job.
    """
    states = [state for batch in _batches(keys, BATCH) for state in await broker.run("cancel", queue, *batch)]
    return [_STATES.get(state) for state in states]


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
    """Queue ended jobs again: attempts start from zero, the history stays.

    Args:
        broker: Where.
        queue: Their queue.
        keys: Which.
        keyring: Renews the signatures of their messages. Only a signature by one of its keys, expired or not, is
            renewed, or a message that somebody else wrote would get a valid one.

    Returns:
        For each job '' if it is queued now; otherwise its state, ``gone`` (no record or message), ``SPENT`` or
        ``UNSIGNED``.
    """
    replies: list[str] = []
    with counting_done(lambda: replies.count("")):
        for batch in _batches(keys, BATCH):
            seals = [b""] * len(batch) if keyring is None else await _seals(broker, queue, batch, keyring)
            ready = [value for pair in zip(batch, seals, strict=True) if pair[1] is not None for value in pair]
            answers = iter(await _run_once(broker, "requeue", queue, *ready) if ready else ())
            replies += [UNSIGNED if seal is None else decode(next(answers)) for seal in seals]
    return replies


async def _seals(broker: Broker, queue: str, keys: Sequence[str], keyring: Keyring) -> list[bytes | None]:
    """A new seal for each job; None if its old one is not valid, empty if it has no message any more.

    If a message is replaced between this and the requeue, the seal does not match it, and workers refuse it.
    """
    seals: list[bytes | None] = []
    now_ms = time.time_ns() // 1_000_000
    while left := keys[len(seals) :]:
        for key, message in zip(left, await broker.run("messages", queue, *left), strict=False):
            try:
                seals.append(message and keyring.seal(queue, key, keyring.open(queue, key, message, None), now_ms))
            except SignatureInvalid:
                seals.append(None)
    return seals


async def pause(broker: Broker, queue: str) -> None:
    """Let no worker claim from the queue until ``resume``; running jobs continue."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.hset(keys.meta, "paused", "1"))


async def resume(broker: Broker, queue: str) -> None:
    """Let workers claim again, at once."""
    keys = broker.keys(queue)
    await broker.ask(keys.prefix, lambda client: client.hdel(keys.meta, "paused"))
    await control.publish(broker, queue, control.RESUME)


async def purge(broker: Broker, queue: str) -> int:
    """Cancel every job that is queued or delayed; running jobs continue.

    Returns:
        How many were cancelled.
    """
    total, seen = 0, 1
    with counting_done(lambda: total):
        while seen:
            seen, cancelled = await _run_once(broker, "purge", queue, BATCH)
            total += cancelled
    return total


async def delete_dead(broker: Broker, queue: str, keys: Sequence[str]) -> int:
    """Delete dead letters and everything that belongs to them, unless they have been requeued meanwhile.

    Returns:
        How many were deleted.
    """
    deleted = 0
    with counting_done(lambda: deleted):
        for batch in _batches(keys, BATCH):
            deleted += await _run_once(broker, "delete_dead", queue, *batch)
    return deleted


@contextmanager
def counting_done(done: Callable[[], int]) -> Iterator[None]:
    """Let an error that ends a call about many jobs say how many were done before it."""
    try:
        yield
    except BrokerError as error:
        error.done += done()
        raise


async def _run_once(broker: Broker, script: str, queue: str, *args: object) -> Any:
    """Run a script that answers the same when the call is repeated: it recognizes the call by its name."""
    return await broker.run(script, queue, secrets.token_hex(8), *args)


def _batches(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """A script call blocks the whole server, and takes a few thousand arguments at most."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]
