"""Submitting many jobs: the event loop stays free meanwhile, and an error says which of them the broker has."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from taskserver.aio import paced, wait_all
from taskserver.client.connected import Connected
from taskserver.client.existing import conflict, is_conflict, take
from taskserver.client.options import PreparedJob, sealed
from taskserver.domain.ids import JobRef
from taskserver.domain.job import ExistingJob, State
from taskserver.domain.signing import Keyring
from taskserver.errors import BrokerError, BrokerUnavailable, JobConflict
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import submit as submitting

SLICE_JOBS = 10_000
"""Jobs that are routed and sent together: to route them takes a few milliseconds."""


class Written(NamedTuple):
    """What many submits have written.

    Attributes:
        partitions: Where each job is, in their order.
        existed: The states of jobs that were there already under their idempotency key, by their ``call``.
    """

    partitions: list[str]
    existed: dict[str, State]


async def submit_many(
    to: Connected,
    keyring: Keyring | None,
    jobs: Sequence[PreparedJob],
    count: Callable[[Iterable[PreparedJob]], None],
) -> Written:
    """Submit jobs. After an error, nothing more is sent.

    Args:
        to: Where.
        keyring: Signs the messages, if given.
        jobs: The jobs.
        count: Called with those that the broker has acknowledged.

    Raises:
        BrokerError: if a job is not acknowledged; the error's ``acknowledged`` lists those that are.
        JobConflict: if a job was there already, and should not be; all others are submitted, and ``acknowledged``
            lists them.
    """
    written = Written([], {})
    conflicts: dict[int, ExistingJob] = {}  # by position
    for start in range(0, len(jobs), SLICE_JOBS):
        some = jobs[start : start + SLICE_JOBS]
        partitions = to.router.route_many(some)
        failed, existing = await _send(to.broker, keyring, zip(partitions, some, strict=True))
        written.partitions.extend(partitions)
        count(each for each in some if each.job.key not in failed)
        for position, each in enumerate(some if existing else (), start):
            if found := existing.get(each.job.call):
                if is_conflict(each.job, found):
                    conflicts[position] = found
                else:
                    ref = JobRef(written.partitions[position], each.job.key)
                    written.existed[each.job.call] = take(to.waiter, ref, each.job, found)
        if failed:
            raise _incomplete(failed, _acknowledged(jobs, written.partitions, failed, conflicts))
    if conflicts:
        raise await _conflicting(to.broker, jobs, written.partitions, conflicts)
    return written


async def _send(
    broker: Broker, keyring: Keyring | None, routed: Iterable[tuple[str, PreparedJob]]
) -> tuple[dict[str, BrokerError], dict[str, ExistingJob]]:
    """Send each partition its jobs, at the same time.

    Returns:
        The errors of those that are not acknowledged, by key; and those that were there already, by their ``call``.
    """
    failed: dict[str, BrokerError] = {}
    existing: dict[str, ExistingJob] = {}

    async def send(partition: str, some: list[PreparedJob]) -> None:
        if keyring is None:
            jobs = [each.job for each in some]
        else:
            jobs = await paced(sealed(keyring, partition, each.job) for each in some)
        submitted = await submitting.submit(broker, partition, jobs)
        failed.update(submitted.failed)
        existing.update(submitted.existing)

    by_partition: dict[str, list[PreparedJob]] = {}
    for partition, each in routed:
        by_partition.setdefault(partition, []).append(each)
    await wait_all(send(*batch) for batch in by_partition.items())
    return failed, existing


def _acknowledged(
    jobs: Sequence[PreparedJob], partitions: Sequence[str], failed: Container[str], conflicts: Container[int]
) -> list[str | None]:
    """The ids of the jobs that the broker has; None for those that failed, by key, that conflict, or were not sent."""
    ids = [
        None if each.job.key in failed or position in conflicts else JobRef(partition, each.job.key).id
        for position, (each, partition) in enumerate(zip(jobs, partitions, strict=False))
    ]
    return ids + [None] * (len(jobs) - len(ids))


async def _conflicting(
    broker: Broker, jobs: Sequence[PreparedJob], partitions: Sequence[str], conflicts: Mapping[int, ExistingJob]
) -> JobConflict:
    """The error of a call whose jobs at these positions were there already, and should not be."""
    position, existing = next(iter(conflicts.items()))
    job = jobs[position].job
    first = await conflict(broker, JobRef(partitions[position], job.key), job, existing)
    counts = f"conflicting: {len(conflicts):,} of {len(jobs):,} jobs; the others are submitted"
    error = JobConflict(first.job_id, f"{first}; {counts}")
    error.acknowledged = _acknowledged(jobs, partitions, (), conflicts)
    return error


def _incomplete(failed: Mapping[str, BrokerError], acknowledged: list[str | None]) -> BrokerError:
    """The error of a call of which not all jobs are acknowledged."""
    total = len(acknowledged)
    errors = list(failed.values())
    first = next((error for error in errors if isinstance(error, BrokerUnavailable)), errors[0])
    known = total - acknowledged.count(None)
    error = type(first)(f"{first}; of {total:,} jobs, {known:,} are acknowledged")
    error.acknowledged = acknowledged
    return error
