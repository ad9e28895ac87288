"""A job that was there already under its idempotency key: whether that is what the caller wanted."""

from __future__ import annotations

from typing import Any

from taskserver.client.waiter import Waiter
from taskserver.domain.ids import JobRef
from taskserver.domain.job import ExistingJob, JobStatus, NewJob, State
from taskserver.errors import BrokerError, JobConflict
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import jobs as job_queries

SHOWN = 200
"""Maximum number of characters of the names of arguments in an error."""


async def accept(broker: Broker, waiter: Waiter, ref: JobRef, job: NewJob, existing: ExistingJob) -> State:
    """The state of the existing job when ``job`` was submitted under the same key.

    Raises:
        JobConflict: if it is not what the caller wanted, see ``is_conflict``.
    """
    if is_conflict(job, existing):
        raise await conflict(broker, ref, job, existing)
    return take(waiter, ref, job, existing)


def is_conflict(job: NewJob, existing: ExistingJob) -> bool:
    """Whether the existing job has another message, or has ended and the submit's ``on_existing`` is ``raise``."""
    return existing.conflicts or (existing.state.ended and job.on_existing == "raise")


def take(waiter: Waiter, ref: JobRef, job: NewJob, existing: ExistingJob) -> State:
    """The state of an existing job that is what the caller wanted; it may run again now."""
    if existing.state.ended and job.on_existing == "rerun":
        waiter.retried(ref)
    return existing.state


async def conflict(broker: Broker, ref: JobRef, job: NewJob, existing: ExistingJob) -> JobConflict:
    """The error that says why the existing job is not what the caller wanted."""
    if existing.conflicts:
        given = job_queries.message_fields(job.payload)
        return JobConflict(
            ref.id,
            f"idempotency key {given['idempotency_key']!r} belongs to job {ref.id} already, which "
            f"{_difference(await _status(broker, ref), given)}: use a key of its own for each call",
        )
    return JobConflict(
        ref.id,
        f"job {ref.id} has this idempotency key and has already ended: it is {existing.state}; submit with "
        f"on_existing='rerun' to run it again, with 'return' to get its result, or with another key",
    )


async def _status(broker: Broker, ref: JobRef) -> JobStatus | None:
    """What is known about the job; None if it cannot be read, since it is known to conflict even so."""
    try:
        return (await job_queries.statuses(broker, ref.queue, [ref.key]))[0]
    except BrokerError:
        return None


def _difference(there: JobStatus | None, given: dict[str, Any]) -> str:
    """What distinguishes two calls, without values: the caller of the other may be somebody else."""
    if there is None or not there.tool:
        return "is another call"
    if there.tool != given["tool"]:
        return f"calls {there.tool}, not {given['tool']}"
    names = _differing(there.arguments, given["arguments"])
    if len(names) > SHOWN:
        names = names[:SHOWN] + "…"
    return f"calls {there.tool} with another value of {names}" if names else f"calls {there.tool} with other arguments"


def _differing(there: Any, given: Any) -> str:
    """Names of the arguments that differ; none if that is unknown: those of a job that has succeeded are gone."""
    if not isinstance(there, dict) or not isinstance(given, dict):
        return ""
    missing = object()
    names = sorted(map(str, {*there, *given}))
    return ", ".join(name for name in names if there.get(name, missing) != given.get(name, missing))
