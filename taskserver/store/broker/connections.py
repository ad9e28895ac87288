"""One process's connections to the servers of a broker, by the server's name. Nothing connects before it is used.

The client library's own retries are switched off: ``retry.py`` decides what is sent again.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import redis.asyncio.connection
import redis.connection
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.broker.sockets import patched
from taskserver.store.broker.urls import BrokerURL

ANSWER_SECONDS = 5.0
"""Maximum time to wait for the answer to a command."""
BLOCK_SECONDS = 5.0
"""How long a blocking read waits at the server; its socket allows ``ANSWER_SECONDS`` more."""

KEEP_ALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}
"""Firewalls do not drop connections that are idle, and dead ones are noticed within a minute."""


class Connections:
    """Clients and script connections, at most one of each for commands to a server.

    Args:
        url: How to connect to them.
        pool_size: Maximum number of connections for commands to each server; blocking reads, script calls and
            subscriptions have their own.
    """

    def __init__(self, url: BrokerURL, pool_size: int) -> None:
        self._url = url
        self._pool_size = pool_size
        self._clients: dict[str, Any] = {}
        self._scripts: dict[str, ScriptConnection] = {}
        self._blocking: set[ScriptConnection] = set()
        self._readers: set[Any] = set()

    def client(self, server: str) -> Any:
        """The client for commands to one server; any number of tasks may use it."""
        # Any: the client library types every answer as bytes or str or more; ours are bytes.
        client = self._clients.get(server)
        if client is None:
            pool: Any = redis.asyncio.BlockingConnectionPool(
                connection_class=patched(connection_class(redis.asyncio.connection, self._url)),
                max_connections=self._pool_size,
                timeout=ANSWER_SECONDS,
                **self._arguments(server, ANSWER_SECONDS, AsyncRetry),
            )
            client = self._clients[server] = redis.asyncio.Redis(connection_pool=pool)
        return client

    def scripts(self, server: str) -> ScriptConnection:
        """The connection for script calls to one server."""
        connection = self._scripts.get(server)
        if connection is None:
            pool = self.client(server).connection_pool
            connection = self._scripts[server] = ScriptConnection(pool, ANSWER_SECONDS)
        return connection

    def blocking(self, server: str) -> ScriptConnection:
        """A new connection for blocking reads, which outlasts them. Close it with ``release``."""
        connection = ScriptConnection(self.client(server).connection_pool, ANSWER_SECONDS + BLOCK_SECONDS)
        self._blocking.add(connection)
        return connection

    def release(self, blocking: ScriptConnection) -> None:
        """Close a connection for blocking reads; harmless when repeated."""
        self._blocking.discard(blocking)
        blocking.close()

    def reader(self, server: str) -> Any:
        """A new client for a subscription: its socket outlasts silence. Close it with ``discard``."""
        # Its reads end after a time of silence anyway, and there is one for each notification.
        pool: Any = redis.asyncio.ConnectionPool(
            patched(connection_class(redis.asyncio.connection, self._url), reading=False),
            max_connections=2,
            **self._arguments(server, ANSWER_SECONDS + BLOCK_SECONDS, AsyncRetry),
        )
        client = redis.asyncio.Redis(connection_pool=pool)
        self._readers.add(client)
        return client

    async def discard(self, reader: Any) -> None:
        """Close a subscription's client; harmless when repeated."""
        self._readers.discard(reader)
        with suppress(redis_errors.RedisError, OSError):
            await reader.aclose(close_connection_pool=True)

    def threaded(self, server: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
        """A new client for a thread, with a connection of its own.

        Args:
            server: Its name.
            answer_seconds: Maximum time to wait for an answer, if that is less than for other calls.
        """
        arguments = self._arguments(server, min(ANSWER_SECONDS, answer_seconds), Retry)
        arguments["socket_connect_timeout"] = arguments["socket_timeout"]
        kind = connection_class(redis.connection, self._url)
        return redis.Redis.from_pool(redis.ConnectionPool(kind, max_connections=1, **arguments))

    async def close(self) -> None:
        """Close every connection but those of threads; harmless when repeated."""
        for connection in (*self._scripts.values(), *self._blocking):
            connection.close()
        clients = [client.aclose(close_connection_pool=True) for client in self._clients.values()]
        await asyncio.gather(*map(self.discard, list(self._readers)), *clients)

    def _arguments(self, server: str, socket_timeout: float, retry: type[Any]) -> dict[str, Any]:
        keep_alive = {} if self._url.socket else {"socket_keepalive": True, "socket_keepalive_options": KEEP_ALIVE}
        return {
            **keep_alive,
            **self._url.arguments(server),
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": ANSWER_SECONDS,
            "retry": retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "protocol": 2,
        }


def connection_class(module: Any, url: BrokerURL) -> Any:
    """The class of connections to the servers of a broker, in ``redis.connection`` or ``redis.asyncio.connection``."""
    name = "UnixDomainSocketConnection" if url.socket else "SSLConnection" if url.tls else "Connection"
    return getattr(module, name)
