"""Every guard of every script is held by a test: taken out, the test that its row names fails.

``make guards`` also runs the whole simulation against each, and tells which it finds by itself.
"""

from __future__ import annotations

import asyncio

import pytest

from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from tests.faults.guards.guard import KINDS, Guard, take_out
from tests.faults.guards.page import PAGE, page
from tests.faults.guards.table import FILES, GUARDS, uncovered
from tests.faults.guards.unguarded import UNGUARDED
from tests.patience import PATIENCE
from tests.store.harness import QUEUE, Queue

MISSED = (AssertionError, ValueError, LookupError, BrokerError, TimeoutError, pytest.fail.Exception)
"""How a test fails: what it asserts or unpacks is not so, a script stops or does not, or a call never comes through."""

every_guard = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)


async def run(guard: Guard, url: str, seconds: float) -> None:
    """The guard's test on an empty queue. Without the guard, a call may be repeated for ever: that shows it as well."""
    broker = Broker(url, patience=0.2)
    try:
        async with asyncio.timeout(seconds):
            await broker.client(broker.url).flushall()
            await broker.prepare(QUEUE)
            await guard.missed_by.run(Queue(broker))
    finally:
        await broker.close()


@every_guard
async def test_a_guard_that_is_taken_out_is_missed(
    guard: Guard, one_broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(guard, one_broker_url, PATIENCE)
    take_out(monkeypatch, guard)
    with pytest.raises(MISSED):
        await run(guard, one_broker_url, 3)


def test_every_row_is_of_a_kind_and_has_a_name_of_its_own() -> None:
    assert {guard.kind for guard in GUARDS} == set(KINDS)
    assert len({guard.id for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize("file", FILES)
def test_every_condition_is_in_the_table_or_guards_nothing(file: str) -> None:
    """Each line with an ``if``, ``elseif`` or ``and`` is touched by a row, or is listed with the reason why not."""
    listed = [line for lines in UNGUARDED.values() for where, line in lines if where == file]
    assert sorted(uncovered(file)) == sorted(listed)


def test_the_page_shows_the_table() -> None:
    """``python -m tests.faults.guards.page`` writes it."""
    assert page() in PAGE.read_text("utf-8")
