"""One replica slot by itself: which processes it starts when, told by children that do as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from taskserver.fleet.link import Ready
from taskserver.fleet.supervisor import replica_slot
from taskserver.fleet.supervisor.child import Child
from taskserver.fleet.supervisor.replica_slot import ReplicaSlot
from tests.patience import PATIENCE


class Puppet:
    """Stands for a replica's process: it is ready, crashes and exits when the test says so."""

    def __init__(self, number: int) -> None:
        self.number, self.pid = number, 0
        self.ready: Ready | None = None
        self.refused = None
        self.started, self.stopping, self.exited = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.stop_sent = False
        self.exit_code: int | None = None
        self.seconds_ready = 0.0

    async def start(self) -> None: ...

    def become_ready(self) -> None:
        self.ready = Ready(name=f"w{id(self)}", pid=0, metrics_port=None)
        self.started.set()

    def exit(self, code: int) -> None:
        self.exit_code = code
        for event in (self.started, self.stopping, self.exited):
            event.set()

    def stop(self, *, hurry: bool = False) -> None:
        self.stop_sent = True
        self.exit(0)

    async def wait(self) -> int:
        await self.exited.wait()
        return self.exit_code or 0


class Theatre:
    """A replica slot, and the children that it has started."""

    def __init__(self) -> None:
        self.children: list[Puppet] = []
        self.slot = ReplicaSlot(1, self._make, lambda: None, lambda refused: None)

    def _make(self, number: int) -> Child:
        self.children.append(Puppet(number))
        return cast("Child", self.children[-1])

    async def child(self, index: int) -> Puppet:
        async with asyncio.timeout(PATIENCE):
            while len(self.children) <= index:
                await asyncio.sleep(0)
        return self.children[index]


@pytest.fixture
async def theatre(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Theatre]:
    monkeypatch.setattr(replica_slot, "FIRST_BACKOFF", 10 * PATIENCE)
    monkeypatch.setattr(replica_slot, "MAX_BACKOFF", 10 * PATIENCE)
    theatre = Theatre()
    running = asyncio.create_task(theatre.slot.run())
    yield theatre
    theatre.slot.stop()
    await asyncio.wait_for(running, PATIENCE)


async def a_few_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_restart_does_not_wait_for_the_back_off(theatre: Theatre) -> None:
    first = await theatre.child(0)
    first.become_ready()
    first.exit(1)
    await a_few_turns()
    assert len(theatre.children) == 1  # the back-off is longer than any test
    assert await theatre.slot.roll()
    (await theatre.child(1)).become_ready()
    await a_few_turns()
    assert theatre.slot.ready is not None


async def test_a_replica_that_crashes_during_its_restart_is_replaced_once(theatre: Theatre) -> None:
    old = await theatre.child(0)
    old.become_ready()
    rolling = asyncio.create_task(theatre.slot.roll())
    successor = await theatre.child(1)
    old.exit(1)
    await a_few_turns()
    successor.become_ready()
    assert await asyncio.wait_for(rolling, PATIENCE)
    theatre.slot._skip_backoff.set()  # the back-off of the old one is over
    await a_few_turns()
    assert theatre.children == [old, successor]
    assert theatre.slot.ready is successor.ready
