"""Patience of a connection for script calls: it is for silence, not for whole answers. The clock is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis import exceptions as redis_errors

from taskserver.store.broker.script_connection import SECOND_LOOK_SECONDS, SLOWEST_LINK, _Wire

PATIENCE = 5.0


class Clock:
    """Stands in for the event loop: its time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
        timer = (self.now + seconds, callback)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = end


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def wire(clock: Clock) -> _Wire:
    transport = SimpleNamespace(set_protocol=lambda _: None, write=lambda _: None, abort=lambda: None)
    connection = SimpleNamespace(
        _parser=SimpleNamespace(parse_error=redis_errors.RedisError),
        _writer=SimpleNamespace(transport=transport),
        _reader=None,
    )
    wire = _Wire(connection, PATIENCE)
    wire._loop = clock  # type: ignore[assignment]
    return wire


async def test_an_answer_may_take_any_time_as_long_as_some_of_it_arrives(clock: Clock, wire: _Wire) -> None:
    answer = wire.send(b"a question")
    wire.data_received(b"$20\r\n")
    for _ in range(20):
        clock.advance(PATIENCE - 1)
        wire.data_received(b"x")
    wire.data_received(b"\r\n")
    assert await answer == b"x" * 20


@pytest.mark.parametrize("heard", [b"", b"$20\r\nonly a part"], ids=["nothing", "a part"])
async def test_silence_ends_the_connection_and_fails_every_call(clock: Clock, wire: _Wire, heard: bytes) -> None:
    answers = [wire.send(b"a question"), wire.send(b"another")]
    clock.advance(1)
    wire.data_received(heard)
    clock.advance(PATIENCE - 0.1)
    assert not wire.broken
    clock.advance(0.2 + SECOND_LOOK_SECONDS)
    assert wire.broken
    for answer in answers:
        with pytest.raises(redis_errors.TimeoutError, match="no answer in time"):
            await answer


async def test_who_sends_much_has_the_time_to_send_it(clock: Clock, wire: _Wire) -> None:
    """Nothing can be heard before the server has all of it; and an answered call costs the next ones no patience."""
    large = b"x" * (10 * SLOWEST_LINK)
    first, second = wire.send(large), wire.send(large)
    clock.advance(10 + PATIENCE - 1)
    assert not first.done()
    wire.data_received(b"+OK\r\n")
    clock.advance(PATIENCE + 4)
    assert not second.done()
    wire.data_received(b"+OK\r\n")
    small = wire.send(b"a question")
    clock.advance(PATIENCE + 0.1 + SECOND_LOOK_SECONDS)
    assert (await first, await second, wire.broken) == (b"OK", b"OK", True)
    assert isinstance(small.exception(), redis_errors.TimeoutError)


async def test_a_transport_that_was_closed_meanwhile_fails_the_call(wire: _Wire) -> None:
    def closed(_: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    wire._transport.write = closed  # type: ignore[method-assign]
    with pytest.raises(redis_errors.ConnectionError, match="closed"):
        await wire.send(b"a question")
    assert wire.broken
