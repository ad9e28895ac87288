"""Submitting many jobs: the event loop stays free meanwhile, and an error says which of them the broker has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from taskserver.aio import paced, wait_all
from taskserver.client.connected import Connected
from taskserver.client.options import PreparedJob, sealed
from taskserver.domain.ids import JobRef
from taskserver.domain.signing import Keyring
from taskserver.errors import BrokerError, BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import submit as submitting

SLICE_JOBS = 10_000
"""Jobs that are routed and sent together: to route them takes a few milliseconds."""


async def submit_many(
    to: Connected,
    keyring: Keyring | None,
    jobs: Sequence[PreparedJob],
    count: Callable[[Iterable[PreparedJob]], None],
) -> list[JobRef]:
    """Submit jobs; which job each has become, in their order. After an error, nothing more is sent.

    Args:
        to: Where.
        keyring: Signs the messages, if given.
        jobs: The jobs.
        count: Called with those that the broker has acknowledged.

    Raises:
        BrokerError: if a job is not acknowledged; the error's ``acknowledged`` lists those that are.
    """
    refs: list[JobRef] = []
    for start in range(0, len(jobs), SLICE_JOBS):
        some = jobs[start : start + SLICE_JOBS]
        partitions = to.router.route_many(some)
        failed = await _send(to.broker, keyring, zip(partitions, some, strict=True))
        refs += (JobRef(partition, each.job.key) for partition, each in zip(partitions, some, strict=True))
        count(each for each in some if each.job.key not in failed)
        if failed:
            raise _incomplete(failed, refs, len(jobs))
    return refs


async def _send(
    broker: Broker, keyring: Keyring | None, routed: Iterable[tuple[str, PreparedJob]]
) -> dict[str, BrokerError]:
    """Send each partition its jobs, at the same time; the errors of those that are not acknowledged, by key."""
    failed: dict[str, BrokerError] = {}

    async def send(partition: str, some: list[PreparedJob]) -> None:
        if keyring is None:
            jobs = [each.job for each in some]
        else:
            jobs = [job async for job in paced(sealed(keyring, partition, each.job) for each in some)]
        failed.update((await submitting.submit(broker, partition, jobs)).failed)

    by_partition: dict[str, list[PreparedJob]] = {}
    for partition, each in routed:
        by_partition.setdefault(partition, []).append(each)
    await wait_all(send(*batch) for batch in by_partition.items())
    return failed


def _incomplete(failed: Mapping[str, BrokerError], refs: Sequence[JobRef], total: int) -> BrokerError:
    """The error of a call: ``refs`` were sent, and ``failed`` of them are not acknowledged."""
    acknowledged = [None if ref.key in failed else ref.id for ref in refs] + [None] * (total - len(refs))
    errors = list(failed.values())
    first = next((error for error in errors if isinstance(error, BrokerUnavailable)), errors[0])
    known = total - acknowledged.count(None)
    error = type(first)(f"{first}; of {total:,} jobs, {known:,} are acknowledged")
    error.acknowledged = acknowledged
    return error
