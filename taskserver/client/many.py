"""Submitting many jobs: the event loop stays free meanwhile, and an error says which of them the broker has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from taskserver.aio import paced, wait_all
from taskserver.client.connected import Connected
from taskserver.client.existing import accept
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
        refs: Which job each has become, in their order.
        existed: The states of jobs that were there already under their idempotency key, by their ``call``.
    """

    refs: list[JobRef]
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
        JobConflict: if a job was there already, and should not be; all others are submitted.
    """
    written = Written([], {})
    refs = written.refs
    conflicts: list[JobConflict] = []
    for start in range(0, len(jobs), SLICE_JOBS):
        some = jobs[start : start + SLICE_JOBS]
        partitions = to.router.route_many(some)
        failed, existing = await _send(to.broker, keyring, zip(partitions, some, strict=True))
        refs += (JobRef(partition, each.job.key) for partition, each in zip(partitions, some, strict=True))
        count(each for each in some if each.job.key not in failed)
        if failed:
            raise _incomplete(failed, refs, len(jobs))
        for position, each in enumerate(some if existing else (), start):
            if found := existing.get(each.job.call):
                try:
                    written.existed[each.job.call] = await accept(to.broker, to.waiter, refs[position], each.job, found)
                except JobConflict as conflict:
                    conflicts.append(conflict)
    if conflicts:
        raise conflicts[0]
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
            jobs = [job async for job in paced(sealed(keyring, partition, each.job) for each in some)]
        submitted = await submitting.submit(broker, partition, jobs)
        failed.update(submitted.failed)
        existing.update(submitted.existing)

    by_partition: dict[str, list[PreparedJob]] = {}
    for partition, each in routed:
        by_partition.setdefault(partition, []).append(each)
    await wait_all(send(*batch) for batch in by_partition.items())
    return failed, existing


def _incomplete(failed: Mapping[str, BrokerError], refs: Sequence[JobRef], total: int) -> BrokerError:
    """The error of a call: ``refs`` were sent, and ``failed`` of them are not acknowledged."""
    acknowledged = [None if ref.key in failed else ref.id for ref in refs] + [None] * (total - len(refs))
    errors = list(failed.values())
    first = next((error for error in errors if isinstance(error, BrokerUnavailable)), errors[0])
    known = total - acknowledged.count(None)
    error = type(first)(f"{first}; of {total:,} jobs, {known:,} are acknowledged")
    error.acknowledged = acknowledged
    return error
