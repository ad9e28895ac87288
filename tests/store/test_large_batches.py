"""Every script takes more jobs in one call than fit on Lua's stack, which has room for 8,000 values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from taskserver.domain.job import ClaimedJob, State
from tests.store.harness import LONG_MS, QUEUE, SMALL_ERROR, SMALL_RESULT, Queue, new_job, submit_all

MANY = 8_100
Arguments = Callable[[list[str], list[ClaimedJob]], list[Any]]


class Batch(NamedTuple):
    """A script that gets many jobs at once.

    Attributes:
        script: Its name.
        arguments: Of the keys of the jobs, and of the claimed ones.
        state: What becomes of the jobs.
        options: How they were submitted.
        claimed: Whether a worker has begun them.
    """

    script: str
    arguments: Arguments
    state: State
    options: Mapping[str, int] = MappingProxyType({})
    claimed: bool = False


def each(*values: Callable[[ClaimedJob], Any] | Any) -> Arguments:
    """Key and fence of each job, and then these values."""

    def flat(_: list[str], jobs: list[ClaimedJob]) -> list[Any]:
        return [
            value
            for job in jobs
            for value in (job.key, job.fence, *(value(job) if callable(value) else value for value in values))
        ]

    return flat


BATCHES = [
    Batch("finish", each(1, "succeeded", SMALL_RESULT, lambda job: job.entry, b"kept"), State.SUCCEEDED, claimed=True),
    Batch("finish", each(1, "failed", SMALL_ERROR, lambda job: job.entry, b""), State.FAILED, claimed=True),
    Batch("retry", each(LONG_MS, SMALL_ERROR), State.DELAYED, claimed=True),
    Batch("release", each(), State.QUEUED, claimed=True),
    Batch("wait", each(b"question", 0), State.WAITING, claimed=True),
    Batch("recall", lambda *_: ["w1", MANY, 1, "-"], State.QUEUED, claimed=True),
    Batch("reclaim", lambda *_: ["w2", 0, LONG_MS, MANY], State.QUEUED, claimed=True),
    Batch("renew", lambda keys, jobs: ["w1", b"about", LONG_MS, *each()(keys, jobs)], State.RUNNING, claimed=True),
    Batch("cancel", lambda keys, _: keys, State.CANCELLED),
    Batch("cancel", lambda keys, _: keys, State.CANCELLED, {"delay_ms": LONG_MS}),
    Batch("purge", lambda *_: ["call", MANY], State.CANCELLED),
    Batch("purge", lambda *_: ["call", MANY], State.CANCELLED, {"delay_ms": LONG_MS}),
    Batch("promote", lambda *_: [MANY], State.QUEUED, {"delay_ms": LONG_MS}),
    Batch("expire", lambda *_: [MANY], State.EXPIRED, {"expires_ms": LONG_MS}),
]


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"{batch.script} {batch.state.value}")
async def test_a_batch_of_thousands_is_carried_out(queue: Queue, batch: Batch) -> None:
    jobs = [new_job(**batch.options) for _ in range(MANY)]
    await submit_all(queue.broker, QUEUE, jobs)
    await its_time_has_come(queue)
    claimed: list[ClaimedJob] = []
    while batch.claimed and len(claimed) < MANY:
        claimed += await queue.claim(slots=MANY)
    await queue.broker.run(batch.script, QUEUE, *batch.arguments([job.key for job in jobs], claimed))
    assert await states(queue, [job.key for job in jobs]) == {batch.state: MANY}


async def its_time_has_come(queue: Queue) -> None:
    """For jobs that wait for it, and for those that had to begin by then."""
    for name in (queue.keys.delayed, queue.keys.expiring):
        await queue.redis.zunionstore(name, {name: 0})


async def states(queue: Queue, keys: list[str]) -> Counter[State]:
    async with queue.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hget(queue.keys.job(key), "state")
        return Counter(State(state.decode()) for state in await pipe.execute())
