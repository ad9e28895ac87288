"""The whole state machine on a real broker: every edge of the table is gone, and nothing else moves a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from taskserver.domain.job import TRANSITIONS, State
from taskserver.domain.settlement import Defer, DeferLimits, Finish, PackedReport, Release, Retry
from taskserver.store.jobs import admin, recover, settle
from tests.store.harness import LONG_MS, PATIENT, QUEUE, SMALL_ERROR, Held, Queue, new_job, submit_all

Act = Callable[[Queue, Held], Awaitable[object]]


async def submit(queue: Queue, job: Held) -> None:
    await submit_all(queue.broker, QUEUE, [replace(new_job(), key=job.key)])


def submit_to_run_again(delay_ms: int = 0) -> Act:
    async def submit(queue: Queue, job: Held) -> None:
        again = new_job(digest="d", call="c", on_existing="rerun", delay_ms=delay_ms)
        await submit_all(queue.broker, QUEUE, [replace(again, key=job.key)])

    return submit


async def claim(queue: Queue, job: Held) -> None:
    await queue.claim()


async def claim_without_message(queue: Queue, job: Held) -> None:
    await queue.redis.unlink(queue.keys.message(job.key))
    await queue.claim()


async def claim_too_late(queue: Queue, job: Held) -> None:
    await queue.outdate(job.key)
    await queue.claim()


async def renew(queue: Queue, job: Held) -> None:
    await queue.renew(job)


async def report(queue: Queue, job: Held) -> None:
    reports = [PackedReport(job.key, job.fence, 1, 1, b"report", b"")]
    await settle.settle(queue.broker, QUEUE, reports, [], PATIENT)


def finish_as(state: State) -> Act:
    async def finish(queue: Queue, job: Held) -> None:
        await queue.settle(Finish(job.key, job.fence, 1, state, SMALL_ERROR, b""))

    return finish


async def retry(queue: Queue, job: Held) -> None:
    await queue.settle(Retry(job.key, job.fence, LONG_MS, SMALL_ERROR))


async def release(queue: Queue, job: Held) -> None:
    await queue.settle(Release(job.key, job.fence))


async def defer(queue: Queue, job: Held) -> None:
    await queue.settle(Defer(job.key, job.fence, SMALL_ERROR))


async def defer_for_the_last_time(queue: Queue, job: Held) -> None:
    await queue.settle(Defer(job.key, job.fence, SMALL_ERROR), patience=DeferLimits(total_ms=0))


async def reclaim(queue: Queue, job: Held) -> None:
    await queue.reclaim()


async def reclaim_unbegun(queue: Queue, job: Held) -> None:
    """A worker read the entry and died before it could begin."""
    streams = {queue.keys.lane("normal"): ">"}
    await queue.redis.xreadgroup("workers", "w1", streams)
    assert job.key in await queue.reclaim()


async def recall(queue: Queue, job: Held) -> None:
    await recover.recall(queue.broker, QUEUE, "w1", [])


async def recall_unbegun(queue: Queue, job: Held) -> None:
    await queue.redis.xreadgroup("workers", "w1", {queue.keys.lane("normal"): ">"})
    await recall(queue, job)


async def repair(queue: Queue, job: Held) -> None:
    """Somebody has deleted all that would wake the job."""
    await queue.forget_wake_up_calls()
    await queue.broker.run("repair_jobs", QUEUE, job.key)


async def promote(queue: Queue, job: Held) -> None:
    await queue.redis.zadd(queue.keys.delayed, {job.key: 1})
    await queue.promote()


async def cancel(queue: Queue, job: Held) -> None:
    await queue.cancel(job.key)


async def expire(queue: Queue, job: Held) -> None:
    await queue.redis.zadd(queue.keys.expiring, {job.key: 1})
    await queue.expire()


async def wait(queue: Queue, job: Held) -> None:
    await queue.wait(job)


async def answer(queue: Queue, job: Held) -> None:
    await queue.answer(job.key)


async def requeue(queue: Queue, job: Held) -> None:
    await queue.requeue(job.key)


async def purge(queue: Queue, job: Held) -> None:
    await admin.purge(queue.broker, QUEUE)


def but_cancelled_before(act: Act) -> Act:
    async def cancelled_before(queue: Queue, job: Held) -> None:
        await queue.cancel(job.key)
        await act(queue, job)

    return cancelled_before


ACTS: dict[str, Act] = {
    "submit": submit,
    "claim": claim,
    "renew": renew,
    "report": report,
    "finish": finish_as(State.SUCCEEDED),
    "retry": retry,
    "release": release,
    "defer": defer,
    "reclaim": reclaim,
    "recall": recall,
    "repair_jobs": repair,
    "promote": promote,
    "cancel": cancel,
    "expire": expire,
    "wait": wait,
    "answer": answer,
    "requeue": requeue,
    "purge": purge,
}

Edge = tuple[str, str, str, Act]
EDGES: list[Edge] = [
    ("claim", "queued", "running", claim),
    ("claim", "queued", "dead", claim_without_message),
    ("claim", "queued", "expired", claim_too_late),
    ("renew", "running", "running", renew),
    ("report", "running", "running", report),
    *(("finish", "running", state, finish_as(State(state))) for state in ("succeeded", "failed", "dead", "cancelled")),
    ("retry", "running", "delayed", retry),
    ("retry", "running", "cancelled", but_cancelled_before(retry)),
    ("release", "running", "queued", release),
    ("release", "running", "cancelled", but_cancelled_before(release)),
    ("defer", "running", "delayed", defer),
    ("defer", "running", "dead", defer_for_the_last_time),
    ("defer", "running", "cancelled", but_cancelled_before(defer)),
    ("reclaim", "running", "queued", reclaim),
    ("reclaim", "running", "cancelled", but_cancelled_before(reclaim)),
    ("reclaim", "queued", "queued", reclaim_unbegun),
    ("recall", "running", "queued", recall),
    ("recall", "running", "cancelled", but_cancelled_before(recall)),
    ("recall", "queued", "queued", recall_unbegun),
    ("repair_jobs", "queued", "queued", repair),
    *(("repair_jobs", state, state, repair) for state in ("running", "delayed", "waiting", "dead")),
    ("promote", "delayed", "queued", promote),
    *(("cancel", source, "cancelled", cancel) for source in ("queued", "delayed", "waiting")),
    ("cancel", "running", "running", cancel),
    *(("expire", source, "expired", expire) for source in ("queued", "delayed", "waiting")),
    ("wait", "running", "waiting", wait),
    ("wait", "running", "cancelled", but_cancelled_before(wait)),
    ("answer", "waiting", "queued", answer),
    *(("requeue", str(source), "queued", requeue) for source in State if source.ended),
    *(("submit", str(source), "queued", submit_to_run_again()) for source in State if source.ended),
    *(("submit", str(source), "delayed", submit_to_run_again(LONG_MS)) for source in State if source.ended),
    ("purge", "queued", "cancelled", purge),
    ("purge", "delayed", "cancelled", purge),
]


def test_every_edge_of_the_table_is_here() -> None:
    assert {name for name, _, _, _ in EDGES} == set(TRANSITIONS)
    for name, row in TRANSITIONS.items():  # how a submit makes a job: see test_submit
        assert {source for edge, source, _, _ in EDGES if edge == name} == row.sources
        assert {target for edge, _, target, _ in EDGES if edge == name} == row.targets


@pytest.mark.parametrize(("name", "source", "target", "act"), EDGES, ids=[f"{e[0]}-{e[1]}-{e[2]}" for e in EDGES])
async def test_edge(queue: Queue, name: str, source: str, target: str, act: Act) -> None:
    job = await queue.make(State(source))
    await act(queue, job)
    assert await queue.state(job.key) is State(target)


OUTSIDE = [
    (name, state) for name in ACTS for state in State if name == "submit" or state not in TRANSITIONS[name].sources
]


@pytest.mark.parametrize(("name", "state"), OUTSIDE, ids=[f"{name}-{state}" for name, state in OUTSIDE])
async def test_no_transition_moves_a_job_from_a_state_outside_its_row(queue: Queue, name: str, state: State) -> None:
    job = await queue.make(state)
    before = await queue.record(job.key)
    await ACTS[name](queue, job)
    assert await queue.record(job.key) == before
