"""Reaching the broker: connections, script calls, and the server's errors in our words.

The client library's own retries are switched off. A plain command that is retried after a lost answer may
happen twice; our scripts may be repeated, so ``Broker.run`` is the one place that does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis
import redis.asyncio
from redis import exceptions as redis_said
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskserver.errors import BrokerDenied, BrokerError, BrokerFull, BrokerUnavailable, BrokerUnsuitable
from taskserver.store.keys import QUEUES, Keys
from taskserver.store.scripts import Script, script
from taskserver.store.sockets import ours
from taskserver.store.urls import check_url, refusal, without_secrets

ANSWER_SECONDS = 5.0
"""How long a command may take to be answered."""
BLOCK_SECONDS = 5.0
"""How long a blocking read waits at the server; its socket allows ``ANSWER_SECONDS`` more."""

_UNANSWERED = (
    redis_said.ConnectionError,
    redis_said.TimeoutError,
    OSError,
    redis_said.BusyLoadingError,
    redis_said.ReadOnlyError,
)


class Broker:
    """One process's way to a broker.

    Args:
        url: ``redis://``, ``rediss://``, ``valkey://``, ``valkeys://`` or ``unix://``.
        patience: Seconds for which ``run`` repeats a call that was not answered.
        connections: Connections for commands at most; each blocking reader and listener has one of its own.

    Raises:
        ConfigError: if the URL cannot be one of a broker.
    """

    def __init__(self, url: str, *, patience: float = 5.0, connections: int = 8) -> None:
        self.url = check_url(url)
        self.shown = without_secrets(url)
        self.patience = patience
        pool = self._pool(connections)
        pool.connection_class = ours(pool.connection_class)
        # Any: the client library types every answer as bytes or str or more; ours are bytes.
        self.redis: Any = redis.asyncio.Redis(connection_pool=pool)
        self._owned: list[Any] = [self.redis]
        self._keys: dict[str, Keys] = {}
        self._prepared: set[str] = set()

    def _pool(self, connections: int) -> Any:
        options = _options(ANSWER_SECONDS, AsyncRetry)
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                self.url, max_connections=connections, timeout=ANSWER_SECONDS, **options
            )
            pool.connection_class(**pool.connection_kwargs)  # it is not connected; this tries the URL's options
        except (TypeError, ValueError, redis_said.RedisError) as error:
            reason = str(error).rpartition("__init__() ")[2]
            raise refusal(self.url, f"one of its options cannot be: {reason}") from None
        return pool

    def keys(self, queue: str) -> Keys:
        """The keys of ``queue``."""
        keys = self._keys.get(queue)
        if keys is None:
            keys = self._keys[queue] = Keys(queue)
        return keys

    def reader(self) -> Any:
        """A client for blocking reads: its socket outlasts them, and it never repeats one by itself."""
        options = _options(ANSWER_SECONDS + BLOCK_SECONDS, AsyncRetry)
        client: Any = redis.asyncio.Redis.from_url(self.url, max_connections=2, **options)
        client.connection_pool.connection_class = ours(client.connection_pool.connection_class)
        self._owned.append(client)
        return client

    def threaded(self) -> redis.Redis:
        """A client for a thread of its own, with connections of its own."""
        return redis.Redis.from_url(self.url, max_connections=1, **_options(ANSWER_SECONDS, Retry))

    async def run(self, name: str, queue: str, *args: Any, once: bool = False) -> Any:
        """Call a script on a queue and return its raw answer.

        Unless ``once``, a call that was not answered is repeated with jittered back-off for ``patience`` seconds.

        Raises:
            BrokerUnavailable: if it was not answered; it may have happened.
            BrokerDenied, BrokerFull, BrokerUnsuitable, BrokerError: if the server refused it.
        """
        prefix = self.keys(queue).prefix
        given_up = time.monotonic() + (0 if once else self.patience)
        pause = 0.05
        while True:
            try:
                with self.translated():
                    return await call(self.redis, script(name), prefix, args)
            except BrokerUnavailable:
                if time.monotonic() + pause > given_up:
                    raise
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
                pause = min(1.0, pause * 2)
            except GroupMissing:
                await self.prepare(queue, again=True)

    async def prepare(self, queue: str, *, again: bool = False) -> None:
        """Make sure that the queue's streams and groups exist and that it is listed.

        When the server's memory is out, it is listed only by a later call.
        """
        if queue in self._prepared and not again:
            return
        with self.translated():
            await call(self.redis, script("prepare"), self.keys(queue).prefix, ())
            with suppress(redis_said.OutOfMemoryError):
                await self.redis.sadd(QUEUES, queue)
                self._prepared.add(queue)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the client library's errors as ours, with the broker named and secrets left out."""
        try:
            yield
        except (redis_said.RedisError, OSError) as error:
            raise self._in_our_words(error) from error

    def _in_our_words(self, error: Exception) -> BrokerError:
        text = str(error)
        if _is_refused_login(error):
            return BrokerDenied(f"the broker at {self.shown} refused the user or password: check the broker URL")
        if isinstance(error, redis_said.NoPermissionError):
            return BrokerDenied(f"the user in the broker URL for {self.shown} may not do this: {text}")
        if isinstance(error, redis_said.OutOfMemoryError) or text.startswith(("OOM", "MISCONF")):
            return BrokerFull(f"the broker at {self.shown} takes no more writes: {text}")
        if isinstance(error, _UNANSWERED) or text.startswith(("BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN")):
            return BrokerUnavailable(f"the broker at {self.shown} does not answer: {_reason(error)}")
        if "NOGROUP" in text or "no such key" in text or "stream key no longer exists" in text:
            return GroupMissing(f"a stream or consumer group is missing at {self.shown}")
        if "shebang" in text or "#!lua" in text or "Error compiling script" in text:
            return BrokerUnsuitable(
                f"the broker at {self.shown} cannot run our scripts: use Redis 7.0 or newer, or Valkey 8 or newer"
            )
        return BrokerError(f"the broker at {self.shown} answered: {text}")

    async def close(self) -> None:
        """Close every connection; harmless when repeated."""
        for client in self._owned:
            await client.aclose(close_connection_pool=True)


class GroupMissing(BrokerError):
    """A queue's stream or group was deleted under us; ``Broker.prepare`` makes it anew."""


async def call(client: Any, called: Script, prefix: str, args: Sequence[Any]) -> Any:
    """EVALSHA, with the script's text where the server does not have it yet."""
    try:
        return await client.evalsha(called.sha, 1, prefix, *args)
    except redis_said.NoScriptError:
        return await client.eval(called.text, 1, prefix, *args)


def call_in_thread(client: redis.Redis, called: Script, prefix: str, args: Sequence[Any]) -> Any:
    """The same from a thread."""
    try:
        return client.evalsha(called.sha, 1, prefix, *args)
    except redis_said.NoScriptError:
        return client.eval(called.text, 1, prefix, *args)


def _options(socket_timeout: float, retry: type[Any]) -> dict[str, Any]:
    return {
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": ANSWER_SECONDS,
        "retry": retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "protocol": 2,
    }


def _is_refused_login(error: BaseException | None) -> bool:
    """Whether the server refused the user or password; a connection that is being made hides that in its cause."""
    while error is not None:
        if isinstance(error, redis_said.AuthenticationError | redis_said.AuthorizationError):
            return True
        if str(error).startswith(("WRONGPASS", "NOAUTH")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, redis_said.TimeoutError):
        return "no answer in time"
    return without_secrets(str(error)) or type(error).__name__
