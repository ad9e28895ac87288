"""Leases are renewed whatever the event loop does, and an attempt that lost its lease hears of it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskserver import Client, Context, JobFailed, State, tool
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire, Process, Talk

Spawn = Callable[..., Process]


async def test_a_job_longer_than_its_lease_runs_once(client: Client, hire: Hire, eventually: Eventually) -> None:
    begun: list[int] = []
    end = asyncio.Event()

    @tool
    async def long(ctx: Context) -> int:
        begun.append(ctx.attempt)
        await end.wait()
        return ctx.attempt

    workers = [await hire(long, lease=0.6) for _ in range(2)]
    job = await client.submit(long)
    beats = _count_beats(workers[0].worker)

    async def two_leases_later() -> bool:
        return len(beats) > 6

    await eventually(two_leases_later)
    end.set()
    assert await job.result(timeout=PATIENCE) == 1
    assert begun == [1]


async def test_a_tool_that_blocks_the_event_loop_keeps_its_lease(client: Client, spawn: Spawn, talk: Talk) -> None:
    spawn(lease=0.9)
    spawn(lease=0.9)
    job = await client.submit("nap", {"seconds": 1.8})
    assert await talk.receive() == "attempt 1"
    assert await job.result(timeout=PATIENCE) == 1
    assert (await job.status()).history == []


async def test_a_loop_blocked_past_its_jobs_timeout_ends_the_process(client: Client, spawn: Spawn, talk: Talk) -> None:
    process = spawn(lease=0.6)
    await client.submit("jam", {"seconds": 600})
    assert await talk.receive() == "jammed"
    assert await process.code() == 70


async def test_a_process_that_was_frozen_past_a_timeout_goes_on(client: Client, spawn: Spawn, talk: Talk) -> None:
    process = spawn(lease=0.3)
    job = await client.submit("hold", max_retries=0)  # its timeout, 0.2 s, and a lease pass while it is frozen
    assert await talk.receive() == "attempt 1"
    process.freeze()
    await asyncio.sleep(0.9)  # the freeze itself: there is nothing to wait for
    process.thaw()
    with pytest.raises(JobFailed):
        await job.result(timeout=PATIENCE)
    assert process.running()


async def test_heartbeats_survive_a_failure_that_nobody_foresaw(
    client: Client, hire: Hire, caplog: pytest.LogCaptureFixture
) -> None:
    hired = await hire(lease=0.3)
    keeper = hired.worker._heartbeat._keeper
    renew, again = keeper.renew, threading.Event()

    def fail_once(*_: object) -> list[Any]:
        def beat(*args: Any) -> list[Any]:
            again.set()
            return renew(*args)

        keeper.renew = beat  # type: ignore[method-assign]
        raise RuntimeError("a bug")

    keeper.renew = fail_once  # type: ignore[method-assign]
    assert await asyncio.to_thread(again.wait, 10)
    assert "a bug" in caplog.text


async def test_a_late_message_about_a_lost_attempt_does_not_end_the_next_one(client: Client, hire: Hire) -> None:
    loop = asyncio.get_running_loop()
    begun = [asyncio.Event(), asyncio.Event()]
    go_on = [asyncio.Event(), asyncio.Event()]
    on_its_way, arrive, arrived = asyncio.Event(), threading.Event(), asyncio.Event()

    @tool(retry_delay=0)
    async def twice(ctx: Context) -> int:
        begun[ctx.attempt - 1].set()
        await go_on[ctx.attempt - 1].wait()
        if ctx.attempt == 1:
            raise ValueError("once more")
        return ctx.attempt

    hired = await hire(twice, lease=0.6)
    keeper = hired.worker._heartbeat._keeper
    renew = keeper.renew

    def slow(queue: str, running: Any, *rest: Any) -> Any:
        if not running:
            return renew(queue, running, *rest)
        if on_its_way.is_set():
            loop.call_soon_threadsafe(arrived.set)
            return renew(queue, running, *rest)
        loop.call_soon_threadsafe(on_its_way.set)
        arrive.wait(20)  # the renewal of the first attempt is on its way while the second begins
        return renew(queue, running, *rest)

    keeper.renew = slow  # type: ignore[method-assign]
    job = await client.submit(twice)
    await begun[0].wait()
    await on_its_way.wait()
    go_on[0].set()
    await begun[1].wait()
    arrive.set()
    await asyncio.wait_for(arrived.wait(), PATIENCE)  # the beat after it
    go_on[1].set()
    assert await job.result(timeout=PATIENCE) == 2


async def test_an_attempt_that_its_own_worker_took_over_is_cancelled(
    client: Client, hire: Hire, eventually: Eventually
) -> None:
    begun = [asyncio.Event(), asyncio.Event()]
    cancelled, end = asyncio.Event(), asyncio.Event()

    @tool
    async def long(ctx: Context) -> int:
        begun[ctx.attempt - 1].set()
        try:
            await end.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ctx.attempt

    hired = await hire(long, lease=0.6)
    job = await client.submit(long)
    await begun[0].wait()
    hired.silence()

    async def lost() -> bool:
        return (await job.status()).state is State.QUEUED

    await eventually(lost)
    assert not begun[1].is_set()  # what it claimed now would be taken from it at once
    hired.speak()
    await asyncio.wait_for(begun[1].wait(), PATIENCE)
    await asyncio.wait_for(cancelled.wait(), PATIENCE)
    end.set()
    assert await job.result(timeout=PATIENCE) == 2


def _count_beats(worker: Any) -> list[None]:
    keeper = worker._heartbeat._keeper
    renew = keeper.renew
    beats: list[None] = []

    def count(*args: Any) -> Any:
        beats.append(None)
        return renew(*args)

    keeper.renew = count
    return beats
