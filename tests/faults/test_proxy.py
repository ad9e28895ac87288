"""The proxy that the tests of the network rely on does to a connection what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Fault, How, Proxy, split

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def wire(proxy: Proxy) -> AsyncIterator[Wire]:
    """A connection through the proxy."""
    host, _, port = proxy.url.removeprefix("redis://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield reader, writer
    writer.close()


@pytest.mark.parametrize("rest", [b"", b"*", b"*1\r\n$4\r\nPI"])
def test_values_are_told_from_each_other(rest: bytes) -> None:
    values = [
        PING,
        PONG,
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n$2\r\n\r\n\r\n-ERR no\r\n",
        b"$0\r\n\r\n",
    ]
    assert split(b"".join(values) + rest) == (values, rest)


async def test_nothing_happens_unless_planned(wire: Wire) -> None:
    reader, writer = wire
    writer.write(PING * 3)
    assert await reader.readexactly(len(PONG) * 3) == PONG * 3


@pytest.mark.parametrize("how", [How.CUT, How.HALF_CLOSE])
async def test_a_reply_breaks_off(proxy: Proxy, wire: Wire, how: How) -> None:
    reader, writer = wire
    fault = proxy.plan(Fault("PING", reply=3, how=how, skip=1))
    writer.write(PING * 3)
    assert await reader.read() == PONG + PONG[:3]
    assert (fault.struck, fault.request_size, fault.reply_size) == (1, len(PING), len(PONG))


async def test_a_request_breaks_off(proxy: Proxy, wire: Wire) -> None:
    reader, writer = wire
    proxy.plan(Fault("PING", request=5))
    writer.write(PING)
    assert await reader.read() == b""


async def test_a_hole_tells_nobody(proxy: Proxy, wire: Wire) -> None:
    reader, writer = wire
    hole = proxy.plan(Fault("PING", how=How.HOLE))
    writer.write(PING * 2)
    await hole.happened.wait()
    answer = asyncio.create_task(reader.read(1))
    assert await asyncio.wait((answer,), timeout=0.1) == (set(), {answer})
    proxy.cut()
    assert await answer == b""
