"""A worker that should be replaced by a fresh process takes no more jobs, lets its own end, and gives the reason."""

from __future__ import annotations

import asyncio
import shutil
import threading

import pytest

from taskserver import Client, ConfigError, State, tool
from taskserver.tools.processes import resident_bytes
from taskserver.tools.processes.memory import from_ps
from taskserver.worker.maintenance import recycler
from taskserver.worker.slots import Slots
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


@tool
async def quick() -> None:
    return


async def test_after_so_many_jobs(client: Client, hire: Hire, caplog: pytest.LogCaptureFixture) -> None:
    jobs = await client.submit_many((quick, {}) for _ in range(10))
    first = await hire(quick, concurrency=4, max_jobs=6)
    await first.life
    states = [(await job.status()).state for job in jobs]
    assert (states.count(State.SUCCEEDED), states.count(State.QUEUED)) == (6, 4)
    assert first.worker.recycle == "it has run as many jobs as max_jobs allows"
    assert "is stopping to be replaced by a fresh process (exit code 75): it has run as many jobs" in caplog.text
    second = await hire(quick, max_jobs=100)
    await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    await second.stop()
    assert second.worker.recycle is None


async def test_what_runs_is_let_go_on_longer_than_the_grace_period(client: Client, hire: Hire) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    @tool
    async def patient() -> str:
        begun.set()
        await gate.wait()
        return "done"

    job = await client.submit(patient)
    it = await hire(patient, concurrency=2, max_jobs=1, grace_period=0.01)
    await begun.wait()
    waiting = await client.submit(patient)
    await asyncio.wait((it.life,), timeout=0.3)
    assert not it.life.done()
    gate.set()
    assert await job.result(timeout=PATIENCE) == "done"
    await it.life
    assert (await waiting.status()).state is State.QUEUED


async def test_a_stop_in_the_meantime_ends_the_patience(client: Client, hire: Hire) -> None:
    begun = asyncio.Event()

    @tool
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    job = await client.submit(endless)
    it = await hire(endless, max_jobs=1, grace_period=0.01)
    await begun.wait()
    await it.stop()
    assert (await job.status()).state is State.QUEUED


async def test_threads_that_do_not_end_hold_half_of_the_slots(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(recycler, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(recycler, "LEAK_SECONDS", 0.05)
    release = threading.Event()

    @tool(timeout=0.05, max_retries=0)
    def stuck() -> None:
        release.wait(PATIENCE)

    it = await hire(stuck, concurrency=4)
    try:
        await client.submit(stuck)

        async def leaked() -> bool:
            return it.worker.leaked_threads == 1

        await eventually(leaked)
        assert it.worker.recycle is None
        await client.submit(stuck)
        await it.life
        assert it.worker.recycle is not None
        assert it.worker.recycle.startswith("2 of 4 slots are held by threads that do not end")
    finally:
        release.set()

    async def found_again() -> bool:
        return it.worker.leaked_threads == 0

    await eventually(found_again)


async def test_more_memory_than_it_may_hold(hire: Hire) -> None:
    it = await hire(quick, max_rss=1_000_000)
    await it.life
    assert it.worker.recycle is not None
    assert "of memory, more than the 1 MB of max_rss" in it.worker.recycle


@pytest.mark.parametrize("limit", ["max_jobs", "max_rss"])
async def test_limits_that_make_no_sense(hire: Hire, limit: str) -> None:
    with pytest.raises(ConfigError, match=f"{limit} must be at least 1, or None for no limit, not 0"):
        await hire(quick, **{limit: 0})


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps: apt-get install procps")
async def test_memory_is_counted_the_same_way_with_and_without_proc() -> None:
    import os

    ours, theirs = await resident_bytes(), await from_ps(os.getpid())
    assert ours is not None
    assert theirs is not None
    assert 0.8 < ours / theirs < 1.25
    assert await resident_bytes(2**22) is None


async def test_slots_for_so_many_jobs_are_given_away_so_often() -> None:
    slots = Slots(4, jobs=5)
    assert slots.take() == 4
    slots.claimed(3, 4)
    assert slots.take() == 1
    assert not slots.used_up.is_set()  # what was asked for may not come
    slots.claimed(0, 1)
    slots.give(3)
    assert slots.take() == 2
    slots.claimed(2, 2)
    assert slots.used_up.is_set()
    slots.give(2)
    assert (slots.take(), slots.free) == (0, 4)
