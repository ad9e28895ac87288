"""Reaching the broker: connections, script calls, and the server's errors in our words.

The client library's own retries are switched off. A plain command that is retried after a lost answer may
happen twice; our scripts may be repeated, so ``Broker.run`` is the one place that does.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis import exceptions as redis_said
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskserver.domain.durability import IN_MEMORY, Durability
from taskserver.domain.retry import backoff
from taskserver.errors import BrokerDenied, BrokerError, BrokerFull, BrokerUnavailable, BrokerUnsuitable
from taskserver.store.broker import schema
from taskserver.store.broker.nodes import nodes_of
from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.broker.sockets import ours
from taskserver.store.broker.urls import BrokerURL, parse_url, refusal, without_secrets
from taskserver.store.keys import QUEUES, SCHEMA, Keys
from taskserver.store.scripts import Script, script

T = TypeVar("T")
W = TypeVar("W")

ANSWER_SECONDS = 5.0
"""How long a command may take to be answered."""
BLOCK_SECONDS = 5.0
"""How long a blocking read waits at the server; its socket allows ``ANSWER_SECONDS`` more."""

KEEP_ALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}
"""Firewalls do not forget connections that are idle, and dead ones are known to be dead within a minute."""

_UNANSWERED = (
    redis_said.ConnectionError,
    redis_said.TimeoutError,
    OSError,
    redis_said.BusyLoadingError,
    redis_said.InvalidResponse,
    # After a failover, or while a cluster changes:
    redis_said.ReadOnlyError,
    redis_said.ClusterDownError,
    redis_said.TryAgainError,
    redis_said.AskError,  # the slot is being moved, or (MovedError) is elsewhere
)

_DENIED_IN_SCRIPT = ("The user executing the script can't", "ACL failure in script")
"""How Redis and Valkey say that a script may not run one of its commands."""


class Broker:
    """One process's way to a broker, which may be one server or several.

    Args:
        url: See ``store.urls``.
        patience: Seconds for which ``ask`` and ``run`` repeat a call that was not answered.
        connections: Connections for commands to each server at most; blocking readers and listeners have their own.
        durability: What an acknowledged submit has survived; see ``Durability``.

    Raises:
        ConfigError: if the URL cannot be one of a broker.
    """

    def __init__(
        self, url: str, *, patience: float = 5.0, connections: int = 8, durability: Durability = IN_MEMORY
    ) -> None:
        place = parse_url(url)
        self.url = place.url
        self.shown = without_secrets(url)
        self.patience = patience
        self.durability = durability
        self._connections = connections
        self._nodes = nodes_of(place)
        self._clients: dict[str, Any] = {}
        self._lines: dict[str, ScriptConnection] = {}
        self._waiting_lines: set[ScriptConnection] = set()
        self._readers: set[Any] = set()
        self._keys: dict[str, Keys] = {}
        self._prepared: set[str] = set()
        self._known = False
        self._check_options(place)

    def _check_options(self, place: BrokerURL) -> None:
        """Make a client without connecting it: that tries the URL's options."""
        server = place.server(*place.hosts[0]) if place.hosts else place.url
        try:
            pool = self.client(server).connection_pool
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError, redis_said.RedisError) as error:
            reason = str(error).rpartition("__init__() ")[2]
            raise refusal(place.url, f"one of its options cannot be: {reason}") from None

    def keys(self, queue: str) -> Keys:
        """The keys of ``queue``."""
        keys = self._keys.get(queue)
        if keys is None:
            keys = self._keys[queue] = Keys(queue)
        return keys

    async def server(self, key: str) -> str:
        """URL of the server that holds ``key``."""
        known = self._nodes.known(key)
        return known if known is not None else await asyncio.to_thread(self._nodes.find, key)

    def server_for_thread(self, key: str) -> str:
        """The same for a thread that is not the event loop's."""
        known = self._nodes.known(key)
        return known if known is not None else self._nodes.find(key)

    async def masters(self) -> list[str]:
        """URLs of all servers that take writes."""
        with self.translated():
            servers: list[str] = await asyncio.to_thread(self._nodes.masters)
        return servers

    def client(self, server: str) -> Any:
        """The client for commands to one server; any number of tasks may use it."""
        # Any: the client library types every answer as bytes or str or more; ours are bytes.
        client = self._clients.get(server)
        if client is None:
            pool: Any = redis.asyncio.BlockingConnectionPool.from_url(
                server,
                max_connections=self._connections,
                timeout=ANSWER_SECONDS,
                **_options(server, ANSWER_SECONDS, AsyncRetry),
            )
            pool.connection_class = ours(pool.connection_class)
            client = self._clients[server] = redis.asyncio.Redis(connection_pool=pool)
        return client

    def reader(self, server: str) -> Any:
        """A client that listens: its socket outlasts silence, and it repeats nothing by itself.

        Give it back to ``discard``.
        """
        options = _options(server, ANSWER_SECONDS + BLOCK_SECONDS, AsyncRetry)
        client: Any = redis.asyncio.Redis.from_url(server, max_connections=2, **options)
        client.connection_pool.connection_class = ours(client.connection_pool.connection_class)
        self._readers.add(client)
        return client

    async def discard(self, reader: Any) -> None:
        """Close a reader; harmless when repeated."""
        self._readers.discard(reader)
        with suppress(redis_said.RedisError, OSError):
            await reader.aclose(close_connection_pool=True)

    def threaded(self, server: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
        """A client for a thread of its own, with connections of its own, which waits so long for an answer at most."""
        options = _options(server, min(ANSWER_SECONDS, answer_seconds), Retry)
        options["socket_connect_timeout"] = options["socket_timeout"]
        return redis.Redis.from_url(server, max_connections=1, **options)

    def line(self, server: str) -> ScriptConnection:
        """The line for script calls to one server."""
        line = self._lines.get(server)
        if line is None:
            line = self._lines[server] = ScriptConnection(self.client(server).connection_pool, ANSWER_SECONDS)
        return line

    def waiting_line(self, server: str) -> ScriptConnection:
        """A line for blocking reads, which outlasts them. Give it back to ``hang_up``."""
        line = ScriptConnection(self.client(server).connection_pool, ANSWER_SECONDS + BLOCK_SECONDS)
        self._waiting_lines.add(line)
        return line

    def hang_up(self, line: ScriptConnection) -> None:
        """Close a waiting line; harmless when repeated."""
        self._waiting_lines.discard(line)
        line.close()

    async def ask(self, key: str, question: Callable[[Any], Awaitable[T]], *, once: bool = False) -> T:
        """Put a question to the server that holds ``key``: ``question`` gets its client.

        Unless ``once``, one that was not answered is repeated with jittered back-off for ``patience`` seconds, and at
        least once: a connection that died unnoticed costs as long as an answer may take. So it must be one that may be.

        Raises:
            BrokerUnavailable: if it was not answered; it may have happened.
            BrokerDenied, BrokerFull, BrokerUnsuitable, BrokerError: if the server refused it.
        """
        return await self._put(key, question, self.client, _commands, once=once)

    async def call(self, key: str, question: Callable[[ScriptConnection], Awaitable[T]], *, once: bool = False) -> T:
        """The same for script calls: ``question`` gets the line."""
        return await self._put(key, question, self.line, lambda line: line.call, once=once)

    async def _put(
        self,
        key: str,
        question: Callable[[W], Awaitable[T]],
        way: Callable[[str], W],
        commands: Callable[[W], schema.Command],
        *,
        once: bool,
    ) -> T:
        """Put a question to the server that holds ``key``, as ``ask`` says.

        The schema is asked for by the same way: another connection may be dead too, and there is one try for that.

        Args:
            key: Whose server is asked.
            question: Gets the way to it.
            way: To a server.
            commands: How a single command takes that way.
            once: Whether it must not be repeated.

        Raises:
            BrokerUnavailable: if it was not answered; it may have happened.
            BrokerDenied, BrokerFull, BrokerUnsuitable, BrokerError: if the server refused it.
        """
        given_up = time.monotonic() + self.patience
        last = once or not self.patience
        failures = 0
        while True:
            try:
                with self.translated():
                    if not self._known:
                        await schema.check(commands(way(await self.server(SCHEMA))), self.shown)
                        self._known = True
                    return await question(way(await self.server(key)))
            except BrokerUnavailable:
                if last:
                    raise
            failures += 1
            await asyncio.sleep(backoff(failures, 0.05, 1.0))
            last = time.monotonic() > given_up

    async def check_schema(self) -> None:
        """Refuse a broker whose keys this version does not know. Whatever is asked first does so too.

        Raises:
            BrokerUnsuitable: with the command to run.
            BrokerUnavailable, BrokerDenied: if it cannot be asked.
        """
        with self.translated():
            await schema.check(self.line(await self.server(SCHEMA)).call, self.shown)
        self._known = True

    async def write_schema(self) -> None:
        """Write down that the keys are of this version's schema, over whatever is there.

        Raises:
            BrokerUnavailable, BrokerDenied, BrokerFull: if it cannot be written.
        """
        with self.translated():
            await schema.write(self.line(await self.server(SCHEMA)).call)

    async def run(self, name: str, queue: str, *args: Any, once: bool = False) -> Any:
        """Call a script on a queue and return its raw answer; as ``ask``."""
        prefix = self.keys(queue).prefix
        called = script(name)
        while True:
            try:
                return await self.call(prefix, lambda line: call(line, called, prefix, args), once=once)
            except GroupMissing:
                await self.prepare(queue, again=True)

    async def prepare(self, queue: str, *, again: bool = False) -> None:
        """Make sure that the queue's streams and groups exist and that it is listed.

        When the server's memory is out, it is listed only by a later call.
        """
        if queue in self._prepared and not again:
            return
        prefix = self.keys(queue).prefix
        await self.call(prefix, lambda line: call(line, script("prepare"), prefix, ()))
        with suppress(BrokerFull):
            await self.ask(QUEUES, lambda client: client.sadd(QUEUES, queue))
            self._prepared.add(queue)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the client library's errors as ours, with the broker named and secrets left out."""
        try:
            yield
        except (redis_said.RedisError, OSError) as error:
            told = self._in_our_words(error)
            if isinstance(told, BrokerUnavailable):
                self._nodes.forget()
                self._known = False  # what comes back may be another one, or have been upgraded
            raise told from error

    def _in_our_words(self, error: Exception) -> BrokerError:
        text = str(error)
        if _is_refused_login(error):
            return BrokerDenied(f"the broker at {self.shown} refused the user or password: check the broker URL")
        if isinstance(error, redis_said.NoPermissionError) or text.startswith(_DENIED_IN_SCRIPT):
            return BrokerDenied(f"the user in the broker URL for {self.shown} may not do this: {text}")
        if isinstance(error, redis_said.OutOfMemoryError) or text.startswith(("OOM", "MISCONF")):
            return BrokerFull(f"the broker at {self.shown} takes no more writes: {text}")
        if isinstance(error, _UNANSWERED) or text.startswith(("BUSY", "NOREPLICAS", "UNBLOCKED force")):
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
        for reader in list(self._readers):
            await self.discard(reader)
        for line in (*self._lines.values(), *self._waiting_lines):
            line.close()
        for client in self._clients.values():
            await client.aclose(close_connection_pool=True)


class GroupMissing(BrokerError):
    """A queue's stream or group was deleted under us; ``Broker.prepare`` makes it anew."""


def _commands(client: Any) -> schema.Command:
    """How a single command takes a client's way; the library must not turn SET's answer into whether it is OK."""
    return partial(client.execute_command, get=True)


async def call(line: ScriptConnection, called: Script, prefix: str, args: Sequence[Any]) -> Any:
    """EVALSHA, with the script's text where the server does not have it yet."""
    try:
        return await line.call(b"EVALSHA", called.sha, 1, prefix, *args)
    except redis_said.NoScriptError:
        return await line.call(b"EVAL", called.text, 1, prefix, *args)


def call_in_thread(client: redis.Redis, called: Script, prefix: str, args: Sequence[Any]) -> Any:
    """The same from a thread."""
    try:
        return client.evalsha(called.sha, 1, prefix, *args)
    except redis_said.NoScriptError:
        return client.eval(called.text, 1, prefix, *args)


def _options(server: str, socket_timeout: float, retry: type[Any]) -> dict[str, Any]:
    keep_alive = (
        {} if server.startswith("unix:") else {"socket_keepalive": True, "socket_keepalive_options": KEEP_ALIVE}
    )
    return {
        **keep_alive,
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
    if isinstance(error, redis_said.AskError):
        return "the queue's slot is moving to another node of the cluster"
    return without_secrets(str(error)) or type(error).__name__
