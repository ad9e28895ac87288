"""The executor by itself: what happens when two attempts of one job meet on a worker, and when one does not end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from taskserver import BaseConsumer, BaseMessage, Context, Toolbox, Worker, WorkerConfig
from taskserver.domain.job import ClaimedJob
from taskserver.domain.messages import Envelope, pack
from taskserver.domain.settlement import Finish, Release, Settlement
from taskserver.store.broker.connection import Broker
from taskserver.worker import executor
from taskserver.worker.attempt import Attempt
from taskserver.worker.executor import Executor
from taskserver.worker.outcome import ResultRules, StopReason
from taskserver.worker.settler import Settler
from taskserver.worker.slots import FairSlots, Slots
from tests.patience import PATIENCE


class Wish(BaseMessage):
    text: str = ""


class Stubborn(BaseConsumer[Wish]):
    """Ends when the test says so, whoever cancels it."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Event] = []
        self.heard: list[Any] = []

    async def process(self, message: Wish, ctx: Context) -> str:
        end = asyncio.Event()
        self.ends.append(end)
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        return message.text

    async def on_success(self, result: Any, message: Wish) -> None:
        self.heard.append(result)


class Settlements:
    """Stands for the settler: keeps what is settled."""

    worker = "w"

    def __init__(self) -> None:
        self.all: list[Settlement] = []

    def settle(self, settlement: Settlement) -> None:
        self.all.append(settlement)


class Stage:
    """An executor with four slots, its one consumer, and what it settles."""

    def __init__(self) -> None:
        self.consumer, self.settled, self.slots = Stubborn(), Settlements(), Slots(4)
        self.executor = Executor({"Wish": self.consumer}, self.slots, ResultRules(1_000))
        self.part = FairSlots(self.slots).add("mail")

    async def begin(self, fence: int) -> Attempt:
        """Run an attempt of the one job until its tool waits."""
        envelope = Envelope("Wish", msgspec.Raw(msgspec.msgpack.encode(Wish("done"))))
        job = ClaimedJob("mail", "0" * 24, fence, fence, None, pack(envelope), b"normal/1-0")
        count = len(self.consumer.ends)
        (attempt,) = self.executor.admit([job], self.part, cast("Settler", self.settled))
        self.executor.begin([attempt])
        async with asyncio.timeout(PATIENCE):
            while len(self.consumer.ends) == count:
                await asyncio.sleep(0)
        return attempt

    async def end(self, number: int) -> None:
        """Let the tool of an attempt return, and the attempt end: that takes some turns of the loop, and no time."""
        self.consumer.ends[number].set()
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    for end in stage.consumer.ends:
        end.set()


async def test_an_attempt_that_was_lost_does_not_take_the_next_one_of_its_job_with_it(stage: Stage) -> None:
    earlier = await stage.begin(1)
    later = await stage.begin(2)
    assert (earlier.stop, later.stop) == (StopReason.LOST, None)
    await stage.end(0)
    assert stage.executor.holds(later)
    assert stage.executor.running == [later]
    assert stage.settled.all == []
    await stage.end(1)
    await asyncio.wait_for(stage.executor.wait_idle(), PATIENCE)
    (finish,) = stage.settled.all
    assert isinstance(finish, Finish)
    assert finish.fence == 2


async def test_the_hook_of_an_attempt_that_was_lost_is_not_called(stage: Stage) -> None:
    attempt = await stage.begin(1)
    stage.executor.end(attempt, StopReason.LOST)
    await stage.end(0)
    assert (stage.consumer.heard, stage.settled.all) == ([], [])


async def test_an_attempt_that_ends_after_it_was_given_up_on_is_settled_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor, "UNWIND_SECONDS", 0.0)
    attempt = await stage.begin(1)
    stage.executor.end(attempt, StopReason.RELEASE)
    async with asyncio.timeout(PATIENCE):
        while not attempt.settled:
            await asyncio.sleep(0)
    assert not stage.executor.holds(attempt)
    await stage.end(0)
    assert stage.settled.all == [Release("0" * 24, 1)]
    assert stage.consumer.heard == []


async def test_the_answer_to_a_heartbeat_concerns_the_attempt_that_it_is_about(one_broker_url: str) -> None:
    """It may come when the attempt has ended, and the job is running here again."""
    broker = Broker(one_broker_url)
    worker = Worker(broker, Toolbox.of(), WorkerConfig(queues=("mail",)))
    part = FairSlots(Slots(4)).add("mail")
    earlier, later = (
        worker._executor.admit(
            [ClaimedJob("mail", "0" * 24, fence, fence, None, b"", b"normal/1-0")], part, cast("Settler", Settlements())
        )[0]
        for fence in (1, 2)
    )
    worker._attend(earlier, "lost")
    worker._attend(earlier, "cancel")
    assert worker._partitions["mail"].leases_lost == 0
    assert worker._executor.holds(later)
    worker._attend(later, "lost")
    assert worker._partitions["mail"].leases_lost == 1
    await broker.close()
