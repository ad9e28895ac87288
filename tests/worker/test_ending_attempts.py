"""Attempts that are stopped, by a timeout or a cancellation, and those that ignore it."""

import asyncio
import sys
import threading
from collections.abc import Sequence

import pytest

from taskserver import Client, Context, JobCancelled, JobFailed, State, tool
from taskserver.worker import executor
from taskserver.worker.attempt import Attempt
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that do not listen are given up on sooner."""
    monkeypatch.setattr(executor, "UNWIND_SECONDS", 0.2)


class Stubborn:
    """A tool that ignores its cancellation until it is let go."""

    def __init__(self, **options: float) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()

        @tool(max_retries=0, **options)  # type: ignore[arg-type]
        async def stubborn(ctx: Context) -> str:
            self.begun.set()
            while not self.let_go.is_set():
                try:
                    await self.let_go.wait()
                except asyncio.CancelledError:
                    ctx.emit("no")
            return "late"

        self.tool = stubborn


@tool
async def other() -> str:
    return "done"


async def test_a_timeout_that_is_ignored_still_ends_the_job(client: Client, hire: Hire) -> None:
    stubborn = Stubborn(timeout=0.1)
    await hire(stubborn.tool)
    job = await client.submit(stubborn.tool)
    with pytest.raises(JobFailed, match="longer than its timeout"):
        await job.result(timeout=PATIENCE)
    stubborn.let_go.set()
    assert (await job.status()).state is State.DEAD


async def test_a_cancellation_that_is_ignored_still_ends_the_job(client: Client, hire: Hire) -> None:
    stubborn = Stubborn()
    await hire(stubborn.tool)
    job = await client.submit(stubborn.tool)
    await stubborn.begun.wait()
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.result(timeout=PATIENCE)
    stubborn.let_go.set()


async def test_its_slot_stays_taken_until_it_has_really_ended(client: Client, hire: Hire) -> None:
    stubborn = Stubborn(timeout=0.1)
    await hire(stubborn.tool, other, concurrency=1)
    with pytest.raises(JobFailed):
        await (await client.submit(stubborn.tool)).result(timeout=PATIENCE)
    waiting = await client.submit(other)
    assert (await waiting.status()).state is State.QUEUED
    stubborn.let_go.set()
    assert await waiting.result(timeout=PATIENCE) == "done"


async def test_a_worker_stops_without_an_attempt_that_does_not_end(client: Client, hire: Hire) -> None:
    stubborn = Stubborn()
    hired = await hire(stubborn.tool, grace_period=0)
    job = await client.submit(stubborn.tool)
    await stubborn.begun.wait()
    await asyncio.wait_for(hired.stop(), PATIENCE)
    assert (await job.status()).state is State.QUEUED
    stubborn.let_go.set()


async def test_a_thread_that_outlives_its_timeout_keeps_its_slot(client: Client, hire: Hire) -> None:
    let_go = threading.Event()
    seen: list[bool] = []

    @tool(timeout=0.1, max_retries=0)
    def deaf(ctx: Context) -> None:
        let_go.wait(60)
        seen.append(ctx.cancelled)

    await hire(deaf, other, concurrency=1)
    with pytest.raises(JobFailed, match="longer than its timeout"):
        await (await client.submit(deaf)).result(timeout=PATIENCE)
    waiting = await client.submit(other)
    assert (await waiting.status()).state is State.QUEUED
    let_go.set()
    assert await waiting.result(timeout=PATIENCE) == "done"
    assert seen == [True]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there tasks begin at once")
async def test_an_attempt_that_is_cancelled_before_its_task_began_gives_its_slot_back(
    client: Client, hire: Hire
) -> None:
    hired = await hire(other, concurrency=1, lease=60)
    running = hired.worker._executor
    begin = running.begin

    def begin_and_cancel(attempts: Sequence[Attempt]) -> None:
        running.begin = begin  # type: ignore[method-assign]
        begin(attempts)
        (attempt,) = attempts
        hired.worker._partitions["default"].handlers["cancel"](attempt.job.key)

    running.begin = begin_and_cancel  # type: ignore[method-assign]
    with pytest.raises(JobCancelled):
        await (await client.submit(other)).result(timeout=PATIENCE)
    assert await (await client.submit(other)).result(timeout=PATIENCE) == "done"


async def test_an_error_while_cleaning_up_does_not_hide_the_cancellation(client: Client, hire: Hire) -> None:
    begun = asyncio.Event()

    @tool
    async def fragile() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the connection was closed")

    await hire(fragile)
    job = await client.submit(fragile)
    await begun.wait()
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.result(timeout=PATIENCE)


async def test_a_timed_out_attempt_is_tried_again(client: Client, hire: Hire) -> None:
    @tool(timeout=0.1, retry_delay=0, max_retries=1)
    async def slow_at_first(ctx: Context) -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    await hire(slow_at_first)
    job = await client.submit(slow_at_first)
    assert await job.result(timeout=PATIENCE) == 2
    assert [line.error.type for line in (await job.status()).history if line.error] == ["TimeoutError"]
