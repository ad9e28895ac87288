"""A job that was there already under its idempotency key: whether that is what the caller wanted."""

from __future__ import annotations

from typing import Any

from taskserver.client.waiter import Waiter
from taskserver.domain.ids import JobRef
from taskserver.domain.job import ExistingJob, NewJob, State
from taskserver.errors import JobConflict
from taskserver.observability.printable import json_text
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import jobs as job_queries

SHOWN = 200
"""Maximum number of characters of a call's arguments in an error."""


async def accept(broker: Broker, waiter: Waiter, ref: JobRef, job: NewJob, existing: ExistingJob) -> State:
    """The state of the existing job when ``job`` was submitted under the same key.

    Raises:
        JobConflict: if it has another message, or has ended and the submit's ``on_existing`` is ``raise``.
    """
    if existing.conflicts:
        raise JobConflict(ref.id, await _conflict(broker, ref, job))
    if existing.state.ended and job.on_existing == "raise":
        raise JobConflict(
            ref.id,
            f"job {ref.id} has this idempotency key and has already ended: it is {existing.state}; submit with "
            f"on_existing='rerun' to run it again, with 'return' to get its result, or with another key",
        )
    if existing.state.ended and job.on_existing == "rerun":
        waiter.retried(ref)
    return existing.state


async def _conflict(broker: Broker, ref: JobRef, job: NewJob) -> str:
    (found,) = await job_queries.statuses(broker, ref.queue, [ref.key])
    there = _call(found.tool, found.arguments) if found and found.tool else "another message"
    given = job_queries.message_fields(job.payload)
    return (
        f"idempotency key {given['idempotency_key']!r} belongs to job {ref.id} already, which is {there}, not "
        f"{_call(given['tool'], given['arguments'])}: use a key of its own for each call"
    )


def _call(tool: str, arguments: Any) -> str:
    """A call in a few words; the arguments of a job that has succeeded are gone."""
    if arguments is None:
        return f"{tool} with other arguments"
    text = json_text(arguments, 0)
    return f"{tool} {text}" if len(text) <= SHOWN else f"{tool} {text[:SHOWN]}…"
