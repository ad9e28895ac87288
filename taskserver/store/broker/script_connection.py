"""Calling scripts on one server: any number of calls at once over one connection, answered in order.

In the client library a call costs more than the server takes for it: a connection is borrowed and returned, retries are
wrapped around it, the answer is looked up in tables. Here it is one write and one future. The library still connects
(TLS, login, database); then its transport is taken over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import hiredis
import redis
from redis import exceptions as redis_errors

from taskserver.store.scripts import Script

SLOWEST_LINK = 128 * 1024
"""Bytes per second. A call has as much more time as it, and those before it, take to be sent at this rate."""
SECOND_LOOK_SECONDS = 0.1
"""After the event loop was blocked, a timer may fire before answers are read that arrived long ago."""
_NOTHING = object()


class ScriptConnection:
    """Calls to one server. It connects for the first call, and again after the connection broke. It never retries.

    Args:
        pool: The library's pool of the server: it knows how to connect.
        patience: Seconds of silence after which the connection is closed, and all calls fail. While an answer arrives,
            however slowly, it is not silent.
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

    async def run(self, script: Script, keys: Sequence[str], *args: Any) -> Any:
        """Call a script with these keys: by its hash, with its text if the server does not have it yet.

        Raises:
            redis.exceptions.RedisError: as the library's clients do.
        """
        try:
            return await self.call(b"EVALSHA", script.sha, len(keys), *keys, *args)
        except redis_errors.NoScriptError:
            return await self.call(b"EVAL", script.text, len(keys), *keys, *args)

    async def _connect(self) -> _Wire:
        """Connect, once for all calls that wait: if that takes long and fails, they must not each try again."""
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
        """Whether the next call must connect first."""
        return self._wire is None or self._wire.broken

    def close(self) -> None:
        """Close the connection; harmless when repeated."""
        if self._wire is not None:
            self._wire.give_up(redis_errors.ConnectionError("the connection was closed"))


def run_in_thread(client: redis.Redis, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """``ScriptConnection.run`` for a thread, with a client of its own."""
    try:
        return client.evalsha(script.sha, len(keys), *keys, *args)
    except redis_errors.NoScriptError:
        return client.eval(script.text, len(keys), *keys, *args)


class _Call(NamedTuple):
    """A call that has been sent: what gets its answer, when that is overdue by the loop's clock, and its bytes."""

    answer: asyncio.Future[Any]
    overdue_at: float
    size: int


class _Wire(asyncio.Protocol):
    """One connection, from when it is made until it breaks.

    Attributes:
        broken: Whether it cannot be used any more.
    """

    def __init__(self, connection: Any, patience: float) -> None:
        self.broken = False
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Call] = deque()
        self._unanswered_bytes = 0
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reader = hiredis.Reader(
            replyError=connection._parser.parse_error,
            protocolError=redis_errors.InvalidResponse,
            notEnoughData=_NOTHING,
        )
        # Connection and writer close their transport when they are collected: the one loses it, the other is kept.
        self._writer, connection._writer, connection._reader = connection._writer, None, None
        self._transport = self._writer.transport
        self._transport.set_protocol(self)

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Write a command; the future gets its answer."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._unanswered_bytes += len(command)
        patience = self._patience + self._unanswered_bytes / SLOWEST_LINK
        self._waiting.append(_Call(answer, self._loop.time() + patience, len(command)))
        try:
            self._transport.write(command)
        except RuntimeError as error:  # it is closed, and ``connection_lost`` has not been called yet
            self.give_up(redis_errors.ConnectionError(str(error)))
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._check_oldest)
        return answer

    def data_received(self, data: bytes) -> None:
        """Give each call its answer, in the order of the calls."""
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                waiting, _, size = self._waiting.popleft()
                self._unanswered_bytes -= size
                if waiting.done():  # the call was cancelled
                    continue
                if isinstance(answer, Exception):
                    waiting.set_exception(answer)
                else:
                    waiting.set_result(answer)
        except (redis_errors.InvalidResponse, IndexError) as error:
            self.give_up(redis_errors.ConnectionError(f"invalid answer: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls: the connection broke."""
        self.give_up(redis_errors.ConnectionError(str(exc or "the connection was closed by the server")))

    def give_up(self, why: Exception) -> None:
        """Close the connection; calls that wait fail with ``why``."""
        self.broken = True
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            waiting = self._waiting.popleft().answer
            if not waiting.done():
                waiting.set_exception(type(why)(*why.args))  # one each: tracebacks are added to it

    def _check_oldest(self, *, again: bool = False) -> None:
        """Give up if the oldest call has waited too long, and nothing has been heard meanwhile."""
        self._timer = None
        if not self._waiting:
            return
        left = max(self._waiting[0].overdue_at, self._heard_at + self._patience) - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_oldest)
        elif not again:
            self._timer = self._loop.call_later(SECOND_LOOK_SECONDS, lambda: self._check_oldest(again=True))
        else:
            self.give_up(redis_errors.TimeoutError("no answer in time"))
