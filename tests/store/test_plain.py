"""Most jobs are plain: nothing is known of them but what every job has. Their claim and their end take a short way,
which is open to nobody else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from taskserver import Client, tool
from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.messages import SUMMARY_BYTES, Envelope, JobSummary, ToolExecutionMessage, summarize, unpack
from taskserver.domain.settlement import Defer
from taskserver.store.jobs import recover
from tests.store.harness import (
    LARGE_RESULT,
    PAYLOAD,
    QUEUE,
    SMALL_ERROR,
    SMALL_RESULT,
    Queue,
    fail,
    release,
    retry,
    succeed,
)

KEPT = summarize(unpack(PAYLOAD), "add")
MoveOn = Callable[[Queue, ClaimedJob], Awaitable[object]]
short_and_long = pytest.mark.parametrize("data", [SMALL_RESULT, LARGE_RESULT], ids=["short", "long"])


async def recalled_and_begun(queue: Queue, job: ClaimedJob) -> None:
    """A claim whose answer was lost is taken back; by the next one the record has as many fields as before."""
    assert await recover.recall(queue.broker, QUEUE, "w1", []) == [job.key]
    (again,) = await queue.claim()
    assert again.fence > job.fence


async def asked(queue: Queue, job: ClaimedJob) -> None:
    await queue.wait(job)


async def lost_and_begun(queue: Queue, job: ClaimedJob) -> None:
    await queue.reclaim()
    assert await queue.claim(worker="w2")


MOVES: dict[str, MoveOn] = {
    "succeeded": lambda queue, job: queue.settle(succeed(job)),
    "failed": lambda queue, job: queue.settle(fail(job)),
    "retried": lambda queue, job: queue.settle(retry(job)),
    "released": lambda queue, job: queue.settle(release(job)),
    "deferred": lambda queue, job: queue.settle(Defer(job.key, job.fence, SMALL_ERROR)),
    "lost": lambda queue, job: queue.reclaim(),
    "lost and begun": lost_and_begun,
    "recalled": lambda queue, job: recover.recall(queue.broker, QUEUE, "w1", []),
    "recalled and begun": recalled_and_begun,
    "asked": asked,
}


@pytest.mark.parametrize("moved_on", MOVES.values(), ids=MOVES)
async def test_an_attempt_that_has_ended_ends_no_job(queue: Queue, moved_on: MoveOn) -> None:
    """Whatever becomes of a plain job, its record then has another fence or another number of fields."""
    job = await queue.running()
    await moved_on(queue, job)
    before = await queue.record(job.key)
    await queue.settle(succeed(job, msgspec.msgpack.encode("late")))
    assert await queue.record(job.key) == before


@short_and_long
async def test_of_a_job_that_succeeded_stays_what_it_is_found_by(queue: Queue, data: bytes) -> None:
    job = await queue.running()
    assert await queue.settle(succeed(job, data)._replace(summary=KEPT)) == []
    assert not await queue.redis.exists(queue.keys.message(job.key))
    status = await queue.status(job.key)
    assert (status.state, status.tool, status.tags) == (State.SUCCEEDED, "add", ["red"])
    assert (status.arguments, status.submitted_at) == (None, 1_700_000_000.0)


@short_and_long
async def test_a_message_that_is_to_be_kept_is_kept(queue: Queue, data: bytes) -> None:
    job = await queue.running()
    assert await queue.settle(succeed(job, data)) == []
    assert await queue.redis.get(queue.keys.message(job.key)) == PAYLOAD
    ends = await queue.ttl(queue.keys.job(job.key))
    assert ends - 1_000 < await queue.ttl(queue.keys.message(job.key)) <= ends
    assert (await queue.status(job.key)).arguments == {"a": 1}


async def test_a_job_without_its_message_cannot_be_run_again(queue: Queue) -> None:
    job = await queue.running()
    await queue.settle(succeed(job)._replace(summary=KEPT))
    assert await queue.requeue(job.key) == ["spent"]
    assert (await queue.status(job.key)).state is State.SUCCEEDED


async def test_a_job_whose_entry_was_written_anew_leaves_none_behind(queue: Queue) -> None:
    """Its worker does not know that it has another entry now."""
    job = await queue.running()
    await queue.delete_entry(job.key)
    assert await queue.renew(job) == {}
    assert await queue.settle(succeed(job)) == []
    assert await queue.entries() == 0


def test_what_would_be_long_is_not_kept_apart_from_the_message() -> None:
    message = ToolExecutionMessage(tool_name="add")

    def kept(session: str) -> bytes:
        return summarize(Envelope.of(message, msgspec.msgpack.encode(message), session_id=session), "add")

    assert msgspec.msgpack.decode(kept("s"), type=JobSummary) == JobSummary("add", session_id="s")
    assert len(kept("s" * 50)) <= SUMMARY_BYTES
    assert kept("s" * 80) == b""


@tool(max_retries=7)
async def add(a: int) -> int:
    return a


@pytest.mark.parametrize("what", [add, "add"])
async def test_what_is_submitted_without_options_is_plain(client: Client, queue: Queue, what: Any) -> None:
    """However its tool was declared: workers know the declaration too."""
    job = await client.submit(what, {"a": 1}, queue=QUEUE)
    assert set(await queue.record(job.id.removeprefix(f"{QUEUE}-"))) == {b"state", b"entry"}
