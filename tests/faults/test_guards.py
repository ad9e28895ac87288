"""Every guard of every script is held by a test: taken out, the test that its row names fails.

``make guards`` also runs the whole simulation against each, and tells which it finds by itself.
"""

from __future__ import annotations

import asyncio

import pytest

from taskserver.errors import BrokerError
from taskserver.store.connection import Broker
from tests.faults.guards.attempts import ATTEMPTS
from tests.faults.guards.guard import KINDS, Guard, take_out
from tests.faults.guards.keepers import KEEPERS
from tests.faults.guards.people import PEOPLE
from tests.faults.guards.reading import READING
from tests.store.harness import QUEUE, Queue

GUARDS = [*ATTEMPTS, *PEOPLE, *KEEPERS, *READING]

every_guard = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)


async def run(guard: Guard, url: str) -> None:
    """The guard's test on an empty queue. Without the guard, a call may be repeated for ever."""
    broker = Broker(url, patience=0.2)
    try:
        async with asyncio.timeout(10):
            await broker.redis.flushall()
            await broker.prepare(QUEUE)
            await guard.missed_by.run(Queue(broker))
    finally:
        await broker.close()


@every_guard
async def test_a_guard_that_is_taken_out_is_missed(
    guard: Guard, one_broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(guard, one_broker_url)
    take_out(monkeypatch, guard)
    with pytest.raises((AssertionError, BrokerError, TimeoutError)):
        await run(guard, one_broker_url)


def test_every_row_is_of_a_kind_and_has_a_name_of_its_own() -> None:
    assert {guard.kind for guard in GUARDS} == set(KINDS)
    assert len({guard.id for guard in GUARDS}) == len(GUARDS)
