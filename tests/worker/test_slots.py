"""A worker runs as many attempts at once as it has slots, never more, and claims nothing beyond them."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from taskserver import Client, Context, State, tool
from taskserver.worker import executor
from taskserver.worker.attempt import Attempt
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


class Crowd:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def pass_through(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002)
        self.now -= 1


async def test_no_more_attempts_run_than_there_are_slots(client: Client, hire: Hire) -> None:
    crowd = Crowd()

    @tool
    async def enter() -> None:
        await crowd.pass_through()

    jobs = await client.submit_many((enter, {}) for _ in range(60))
    await hire(enter, concurrency=3)
    await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    assert crowd.most == 3


async def test_two_queues_share_the_slots(client: Client, hire: Hire) -> None:
    crowd = Crowd()

    @tool
    async def enter() -> None:
        await crowd.pass_through()

    await hire(enter, queues=("red", "blue"), concurrency=1)
    for _ in range(25):  # both queues are idle each time, so both bring their job at the same moment
        jobs = await asyncio.gather(client.submit(enter, queue="red"), client.submit(enter, queue="blue"))
        await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    assert crowd.most == 1


async def test_both_of_two_busy_queues_get_their_turn(client: Client, hire: Hire) -> None:
    order: list[str] = []

    @tool
    async def note(queue: str) -> None:
        order.append(queue)
        await asyncio.sleep(0)

    jobs = [await client.submit(note, {"queue": queue}, queue=queue) for queue in ("red", "blue") for _ in range(30)]
    await hire(note, queues=("red", "blue"), concurrency=1)
    await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    assert set(order[:20]) == {"red", "blue"}


async def test_a_full_worker_leaves_the_other_jobs_to_others(client: Client, hire: Hire) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> None:
        begun.set()
        await end.wait()

    @tool
    async def short() -> str:
        return "done"

    await hire(long, short, concurrency=1, lease=60)
    first = await client.submit(long)
    await begun.wait()
    others = await client.submit_many((short, {}) for _ in range(3))
    assert {(await job.status()).state for job in others} == {State.QUEUED}
    await hire(short, lease=60)
    assert [await job.result(timeout=PATIENCE) for job in others] == ["done"] * 3
    end.set()
    await first.result(timeout=PATIENCE)


async def test_a_worker_that_became_full_gives_back_what_another_queue_brings(
    client: Client, hire: Hire, eventually: Eventually
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> None:
        begun.set()
        await end.wait()

    @tool
    async def short() -> str:
        return "done"

    hired = await hire(long, short, queues=("red", "blue"), concurrency=1, lease=60)

    async def both_are_reading() -> bool:
        return all(partition.fetcher._reader._reading for partition in hired.worker._partitions.values())

    await eventually(both_are_reading)
    first = await client.submit(long, queue="red")
    await begun.wait()
    second = await client.submit(short, queue="blue")  # its blocking read began when the slot was free
    await hire(short, queues=("blue",), lease=60)
    assert await second.result(timeout=PATIENCE) == "done"
    end.set()
    await first.result(timeout=PATIENCE)


async def test_a_worker_without_a_free_slot_asks_the_broker_for_nothing(client: Client, hire: Hire) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> None:
        begun.set()
        await end.wait()

    hired = await hire(long, queues=("red", "blue"), concurrency=1, lease=60)
    jobs = await asyncio.gather(client.submit(long, queue="red"), client.submit(long, queue="blue"))
    await begun.wait()
    await hired.broker.client(hired.broker.url).config_resetstat()
    await asyncio.gather(*(hired.broker.client(hired.broker.url).ping() for _ in range(200)))
    calls = (await hired.broker.client(hired.broker.url).info("commandstats")).get("cmdstat_evalsha", {"calls": 0})[
        "calls"
    ]
    assert calls < 20
    end.set()
    await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))


async def test_jobs_of_a_claim_that_could_not_be_started_go_back_unspent(client: Client, hire: Hire) -> None:
    @tool
    async def short(ctx: Context) -> int:
        return ctx.attempt

    jobs = await client.submit_many([(short, {})] * 3)
    hired = await hire(short, concurrency=3, lease=60)
    executor, begun = hired.worker._executor, []
    begin = executor.begin

    def begin_but_the_second(attempt: Attempt) -> None:
        begun.append(attempt)
        if len(begun) == 2:
            raise RuntimeError("no task for it")
        begin(attempt)

    executor.begin = begin_but_the_second  # type: ignore[method-assign]
    assert [await job.result(timeout=PATIENCE) for job in jobs] == [1, 1, 1]
    await hired.stop()
    assert hired.worker._slots.busy == 0


async def test_a_job_that_begins_holds_one_slot_and_the_others_are_free(client: Client, hire: Hire) -> None:
    """Since Python 3.12 a tool begins inside the claim, and may block the event loop there."""

    @tool
    async def busy() -> int:
        return hired.worker._slots.busy

    hired = await hire(busy, concurrency=3)
    assert await (await client.submit(busy)).result(timeout=PATIENCE) == 1


async def test_jobs_that_cannot_begin_give_their_slots_back_and_run_later(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin, calls = executor._begin, itertools.count()

    def second_fails(life: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        if next(calls) == 1:
            life.close()
            raise RuntimeError("no more tasks")
        return begin(life, loop)

    @tool
    async def nothing() -> str:
        return "done"

    monkeypatch.setattr(executor, "_begin", second_fails)
    jobs = await client.submit_many((nothing, {}) for _ in range(3))
    hired = await hire(nothing, concurrency=3)
    assert [await job.result(timeout=PATIENCE) for job in jobs] == ["done"] * 3
    assert {(await job.status()).attempt for job in jobs} == {1}
    assert "no more tasks" in caplog.text
    await hired.stop()
    assert hired.worker._slots.free == 3
