"""The line to one server on which scripts are called: any number at once over one connection, answered in order.

Calling a script is what everything fast here does, and in the client library a call costs more than the server takes
for it: a connection is borrowed and returned, retries are wrapped around it, the answer is looked up in tables. Here it
is one write and one future. The library still connects (TLS, login, database); then its transport is taken over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from typing import Any

import hiredis
from redis import exceptions as redis_said

SECOND_LOOK_SECONDS = 0.1
"""After a blocked event loop a timer may fire before answers are read that have long been there."""
_NOTHING = object()


class ScriptConnection:
    """Calls to one server. It connects when it is needed, and again when the connection broke.

    Args:
        pool: The library's pool of the server: it knows how to connect.
        patience: Seconds within which a call must be answered; else the connection is given up with all that wait.
    """

    def __init__(self, pool: Any, patience: float) -> None:
        self._pool = pool
        self._patience = patience
        self._connecting = asyncio.Lock()
        self._wire: _Wire | None = None
        self._failure: Exception | None = None

    async def call(self, *command: Any) -> Any:
        """Send a command and return its answer.

        Raises:
            redis.exceptions.RedisError: as the library's clients do.
        """
        wire = self._wire
        if wire is None or wire.broken:
            wire = await self._connect()
        return await wire.send(hiredis.pack_command(command))

    async def _connect(self) -> _Wire:
        """Connect, once for all who wait for it: where that takes long and fails, they must not try one by one."""
        failure = self._failure
        async with self._connecting:
            if self._wire is not None and not self._wire.broken:
                return self._wire
            if self._failure is not None and self._failure is not failure:
                raise copy(self._failure) from self._failure
            connection = self._pool.connection_class(**self._pool.connection_kwargs)
            try:
                await connection.connect()
            except Exception as error:
                self._failure = error
                raise
            self._wire = _Wire(connection, self._patience)
            return self._wire

    @property
    def broken(self) -> bool:
        """Whether the next call has to connect first."""
        return self._wire is None or self._wire.broken

    def close(self) -> None:
        """End the connection; harmless when repeated."""
        if self._wire is not None:
            self._wire.give_up(redis_said.ConnectionError("the connection was closed"))


class _Wire(asyncio.Protocol):
    """One connection, from when it is made until it breaks.

    Attributes:
        broken: Whether it is of no more use.
    """

    def __init__(self, connection: Any, patience: float) -> None:
        self.broken = False
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reader = hiredis.Reader(
            replyError=connection._parser.parse_error,
            protocolError=redis_said.InvalidResponse,
            notEnoughData=_NOTHING,
        )
        # Connection and writer close their transport when they are collected: the one loses it, the other is kept.
        self._writer, connection._writer, connection._reader = connection._writer, None, None
        self._transport = self._writer.transport
        self._transport.set_protocol(self)

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Write a command; its answer comes."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((answer, self._loop.time()))
        self._transport.write(command)
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._look)
        return answer

    def data_received(self, data: bytes) -> None:
        """Give answers to those who wait, in the order in which they asked."""
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                waiting, _ = self._waiting.popleft()
                if waiting.done():  # whoever asked was cancelled
                    continue
                if isinstance(answer, Exception):
                    waiting.set_exception(answer)
                else:
                    waiting.set_result(answer)
        except (redis_said.InvalidResponse, IndexError) as error:
            self.give_up(redis_said.ConnectionError(f"it answered what is no answer: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told that the connection broke."""
        self.give_up(redis_said.ConnectionError(str(exc or "the connection was closed by the server")))

    def give_up(self, why: Exception) -> None:
        """Close the connection; whoever waits gets ``why``."""
        self.broken = True
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(type(why)(*why.args))  # each one's own: tracebacks are added to it

    def _look(self, *, again: bool = False) -> None:
        """Give up if the oldest call has waited too long."""
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0][1] + self._patience - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        elif not again:
            self._timer = self._loop.call_later(SECOND_LOOK_SECONDS, lambda: self._look(again=True))
        else:
            self.give_up(redis_said.TimeoutError("no answer in time"))
