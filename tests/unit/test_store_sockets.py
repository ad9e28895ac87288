"""The library's connections, changed: what is raised about a connection that another task has closed, and patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.connection import Connection

from taskserver.store.broker.sockets import patched

CLOSED = [
    RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    AttributeError("'NoneType' object has no attribute 'writelines'"),
    ConnectionResetError("Connection lost"),
]


class Slow:
    """A server that sends its answer in parts: the next one when the last has been read."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await self.parts.get():
            writer.write(part)
            await writer.drain()
        writer.close()


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def connection(slow: Slow) -> AsyncIterator[Any]:
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    connection: Any = patched(Connection)(host=host, port=port, socket_timeout=0.5, protocol=2, retry=None)
    await connection._connect()
    connection._parser.on_connect(connection)
    yield connection
    await connection.disconnect()
    slow.parts.put_nowait(b"")
    server.close()


@pytest.mark.parametrize("error", CLOSED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("use", ["send", "read"])
async def test_a_connection_that_another_task_has_closed_raises_an_error_of_connections(
    connection: Any, monkeypatch: pytest.MonkeyPatch, use: str, error: Exception
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(connection._writer, "writelines", fails)
    monkeypatch.setattr(connection._reader, "read", fails)
    call = connection.send_packed_command(b"PING") if use == "send" else connection.read_response()
    with pytest.raises((redis_errors.ConnectionError, OSError)):
        await call
    assert not connection.is_connected


async def test_an_answer_may_take_any_time_as_long_as_some_of_it_arrives(
    connection: Any, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit of each read is noted instead of waited for."""
    limits: list[float | None] = []
    timeout = asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        limits.append(seconds)
        return timeout(None)

    monkeypatch.setattr(asyncio, "timeout", noted)
    read = asyncio.create_task(connection.read_response())
    slow.parts.put_nowait(b"$3\r\n")
    while len(limits) < 2:  # the first part has been read
        await asyncio.sleep(0.001)
    slow.parts.put_nowait(b"yes\r\n")
    assert await read == b"yes"
    assert limits == [0.5, 0.5]


async def test_silence_ends_a_read(connection: Any, slow: Slow) -> None:
    slow.parts.put_nowait(b"$3\r\nye")
    with pytest.raises(redis_errors.TimeoutError, match="no answer in time"):
        await connection.read_response()
    assert not connection.is_connected


async def test_a_read_with_a_limit_of_its_own_ends_at_that(connection: Any) -> None:
    assert await connection.read_response(timeout=0.01) is None
    assert connection.is_connected
