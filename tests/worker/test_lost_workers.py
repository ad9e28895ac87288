"""A worker that dies, or is frozen for too long: its jobs run elsewhere, soon, and it cannot interfere any more."""

import asyncio
import itertools
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from taskserver import Client, Context, JobFailed, State, tool
from taskserver.worker.maintenance import reclaimer
from tests.patience import PATIENCE
from tests.worker.conftest import Hire, Process, Talk

Spawn = Callable[..., Process]


@tool
async def linger(ctx: Context) -> str:
    return f"attempt {ctx.attempt}"


async def test_a_dead_workers_job_is_running_again_within_two_leases(
    client: Client, spawn: Spawn, hire: Hire, talk: Talk
) -> None:
    first = spawn(lease=2)
    job = await client.submit("linger")
    assert await talk.receive() == "attempt 1"
    await hire(linger, lease=2)
    first.kill()
    assert await job.result(timeout=PATIENCE) == "attempt 2"
    status = await job.status()
    (lost,) = status.history
    assert (lost.event, lost.attempt) == ("lost", 1)
    assert status.started_at is not None
    assert lost.at_ms / 1000 <= status.started_at


@pytest.mark.parametrize("others_lease", [2.0, 60.0])
async def test_the_time_until_then_is_at_most_two_leases_of_the_dead_worker(
    client: Client, spawn: Spawn, hire: Hire, talk: Talk, monkeypatch: pytest.MonkeyPatch, others_lease: float
) -> None:
    lease, looked = 2.0, list[float]()
    reclaim = reclaimer.reclaim
    free = asyncio.Event()

    @tool
    async def occupy() -> None:
        await free.wait()

    async def timed(*args: Any) -> Any:
        look = await reclaim(*args)
        looked.append(time.monotonic())
        if look.lost:
            taken_back.set()
        return look

    taken_back = asyncio.Event()
    monkeypatch.setattr(reclaimer, "reclaim", timed)
    other = await hire(occupy, linger, lease=others_lease, concurrency=1)
    await other.worker.ready.wait()
    await client.submit(occupy)
    first = spawn(lease=lease)
    await client.submit("linger")
    await talk.receive()
    first.kill()
    killed = time.monotonic()
    await asyncio.wait_for(taken_back.wait(), PATIENCE)
    turns = [killed, *(at for at in looked if at > killed)]
    # A machine that is slow makes turns late, and live workers then get two turns longer to renew.
    late = sum(max(0.0, after - before - lease * 2 / 3) for before, after in pairwise(turns))
    assert turns[-1] - killed <= 2 * lease + 3 * late
    free.set()


async def test_a_worker_with_a_short_lease_takes_no_job_from_one_with_a_long_lease(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free, looks = asyncio.Event(), asyncio.Event(), itertools.count()
    reclaim = reclaimer.reclaim

    @tool
    async def hold(ctx: Context) -> int:
        begun.set()
        await free.wait()
        return ctx.attempt

    async def counted(*args: Any) -> Any:
        look = await reclaim(*args)
        if begun.is_set() and look.is_reclaimer and next(looks) == 4 * reclaimer.TURNS_PER_LEASE:
            free.set()
        return look

    monkeypatch.setattr(reclaimer, "reclaim", counted)
    await hire(hold, lease=60)
    job = await client.submit(hold)
    await begun.wait()
    await hire(lease=0.5)
    assert await job.result(timeout=PATIENCE) == 1
    assert (await job.status()).history == []


async def test_a_frozen_worker_hears_that_it_lost_its_job(client: Client, spawn: Spawn, hire: Hire, talk: Talk) -> None:
    frozen = spawn(lease=1.5)
    job = await client.submit("linger")
    assert await talk.receive() == "attempt 1"
    frozen.freeze()
    await hire(linger, lease=1.5)
    assert await job.result(timeout=PATIENCE) == "attempt 2"
    frozen.thaw()
    assert await talk.receive() == "cancelled 1"
    assert [event async for event in job.events()] == []  # what it reported then was refused
    assert await job.result(timeout=PATIENCE) == "attempt 2"


async def test_a_frozen_worker_cannot_finish_its_job_late(client: Client, spawn: Spawn, hire: Hire, talk: Talk) -> None:
    frozen = spawn(lease=1.5)
    job = await client.submit("linger")
    assert await talk.receive() == "attempt 1"
    frozen.freeze()
    await talk.send("late")  # it finds this message when it wakes up, and returns it
    await hire(linger, lease=1.5)
    assert await job.result(timeout=PATIENCE) == "attempt 2"
    frozen.thaw()
    other = await client.submit("nap", {"seconds": 0})  # only the thawed one knows this tool
    assert await other.result(timeout=PATIENCE) == 1
    assert await job.result(timeout=PATIENCE) == "attempt 2"
    assert [line.event for line in (await job.status()).history] == ["lost"]


async def test_a_job_that_kills_its_workers_is_dead_after_its_attempts(client: Client, spawn: Spawn) -> None:
    job = await client.submit("poison", max_retries=1)
    assert await spawn(lease=1.5).code() != 0
    assert await spawn(lease=1.5).code() != 0
    spawn(lease=1.5)
    with pytest.raises(JobFailed, match="2 attempts are used up"):
        await job.result(timeout=PATIENCE)
    status = await job.status()
    assert status.state is State.DEAD
    assert [(line.event, line.attempt) for line in status.history] == [("lost", 1), ("lost", 2), ("dead", 2)]


async def test_the_tools_own_limit_ends_a_job_whose_submitter_set_none(client: Client, spawn: Spawn) -> None:
    job = await client.submit("poison")  # by its name: only the worker knows that it may run twice
    assert await spawn(lease=1.5).code() != 0
    assert await spawn(lease=1.5).code() != 0
    spawn(lease=1.5)
    with pytest.raises(JobFailed, match="2 attempts are used up"):
        await job.result(timeout=PATIENCE)
    status = await job.status()
    assert status.attempt == 2
    assert status.error is not None
    assert status.error.type == "WorkerLost"  # as where the broker itself makes it a dead letter
