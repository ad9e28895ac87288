"""The broker, as everything above uses it: commands and script calls to the server that holds a key.

``connections.py`` keeps the connections, ``nodes.py`` knows which server holds what, ``retry.py`` asks again,
``translation.py`` turns the client library's errors into ours, and ``preparing.py`` creates queues.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from taskserver.domain.durability import IN_MEMORY, Durability
from taskserver.errors import BrokerError, BrokerFull, BrokerUnavailable, ClientUnusable, TLSFailed
from taskserver.ownership import LoopGuard
from taskserver.store.broker import schema
from taskserver.store.broker.connections import Connections
from taskserver.store.broker.nodes import nodes_of
from taskserver.store.broker.preparing import QueuePreparer
from taskserver.store.broker.retry import Retries
from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.broker.tls import wrong_scheme
from taskserver.store.broker.translation import GroupMissing, translate
from taskserver.store.broker.urls import parse_url, without_secrets
from taskserver.store.keys import SCHEMA, Keys
from taskserver.store.scripts import script

MOST_QUEUES = 10_000
"""Queues about which a process remembers something; a program that has used more forgets all of them."""

T = TypeVar("T")
C = TypeVar("C")


class Broker:
    """A broker, which may be one server or several.

    Args:
        url: See ``store/broker/urls.py``.
        patience: Seconds for which ``ask``, ``call`` and ``run`` retry a call that was not answered.
        connections: Maximum number of connections for commands to each server; blocking reads and subscriptions
            have their own.
        durability: What an acknowledged submit has survived; see ``Durability``.

    Attributes:
        url: The URL without login and options; if there is only one server, its name.
        shown: The URL without its secrets, as messages name the broker.
        connections: Connections to single servers, for what ``ask`` and ``call`` cannot do.
        generation: Changes whenever it may be another server than before that holds a key.

    It belongs to the event loop and the process of its first question.

    Raises:
        ConfigError: if the URL is not valid.
    """

    def __init__(
        self, url: str, *, patience: float = 5.0, connections: int = 8, durability: Durability = IN_MEMORY
    ) -> None:
        self._parsed = parsed = parse_url(url)
        self._answered = False
        self.url = parsed.name
        self.shown = without_secrets(url)
        self.patience = patience
        self.durability = durability
        self.connections = Connections(parsed, connections)
        self.generation = 0
        self._nodes = nodes_of(parsed)
        self._keys: dict[str, Keys] = {}
        self._scripts: dict[str, ScriptConnection] = {}
        self._preparer = QueuePreparer(self.call)
        self._schema_checked = False
        self._guard = LoopGuard("the client of this call")

    def keys(self, queue: str) -> Keys:
        """The keys of ``queue``."""
        keys = self._keys.get(queue)
        if keys is None:
            if len(self._keys) >= MOST_QUEUES:
                self._forget_queues()
            keys = self._keys[queue] = Keys(queue, self._parsed.database)
        return keys

    def _forget_queues(self) -> None:
        """Programs that use a queue for each customer or session must not grow with them."""
        self._keys, self._scripts = {}, {}
        self._preparer.prepared.clear()

    async def server(self, key: str) -> str:
        """Name of the server that holds ``key``."""
        known = self._nodes.known(key)
        return known if known is not None else await asyncio.to_thread(self._nodes.find, key)

    def server_for_thread(self, key: str) -> str:
        """The same for a thread other than the event loop's."""
        known = self._nodes.known(key)
        return known if known is not None else self._nodes.find(key)

    async def masters(self) -> list[str]:
        """Names of all servers that accept writes."""
        async with self.explained():
            servers: list[str] = await asyncio.to_thread(self._nodes.masters)
        return servers

    def client(self, server: str) -> Any:
        """The client library's client for one server; what it raises is for ``translated``."""
        return self.connections.client(server)

    async def ask(self, key: str, question: Callable[[Any], Awaitable[T]], *, once: bool = False) -> T:
        """Await ``question(client)`` with the client of the server that holds ``key``.

        A question that was not answered is put again for ``patience`` seconds, at least once: it must do no harm when
        the server has carried out the first one.

        Args:
            key: Finds the server.
            question: Sends commands with the client that it gets.
            once: Do not retry.

        Raises:
            BrokerUnavailable: if it was not answered; it may have been carried out.
            BrokerDenied, BrokerFull, BrokerUnsuitable, BrokerError: if the server refused it.
        """
        return await self._retried(key, question, self._client, _commands, once=once)

    async def call(self, key: str, question: Callable[[ScriptConnection], Awaitable[T]], *, once: bool = False) -> T:
        """The same with the connection for script calls: ``question(scripts)``. It retries as ``ask`` does."""
        return await self._retried(key, question, self._script_connection, lambda scripts: scripts.call, once=once)

    async def run(self, name: str, queue: str, *args: Any, once: bool = False) -> Any:
        """Call a script on a queue and return its raw answer.

        It retries as ``ask`` does, unless ``once``. If a stream or group of the queue is missing, the queue is prepared
        and the script called again, even with ``once``: the server has answered, so nothing is repeated unknowingly.

        Raises:
            BrokerUnavailable: if it was not answered; it may have run.
            BrokerDenied, BrokerFull, BrokerUnsuitable, BrokerError: if the server refused it.
        """
        keys, called = self.keys(queue), script(name)
        while True:
            try:
                return await self.call(
                    keys.prefix, lambda scripts: scripts.run(called, keys.of_scripts, *args), once=once
                )
            except GroupMissing:
                await self.prepare(queue, again=True)

    async def prepare(self, queue: str, *, again: bool = False) -> None:
        """Create the queue's streams and groups where they are missing, and add it to the list of queues.

        Only the first call for a queue does anything. A server that is out of memory does not list the queue yet;
        then the next call does.

        Args:
            queue: Its name.
            again: Do it even if this process has prepared the queue before.
        """
        if again or queue not in self._preparer.prepared:
            await self._preparer.prepare(self.keys(queue))

    async def check_schema(self) -> None:
        """Refuse a broker whose keys this version does not know. The first ``ask`` or ``call`` does so too.

        Raises:
            BrokerUnsuitable: with the command to run.
            BrokerUnavailable, BrokerDenied: if it does not answer, or refuses the user.
        """
        with self.translated():
            await schema.check(self.connections.scripts(await self.server(SCHEMA)).call, self.shown)
        self._schema_checked = True

    async def read_schema(self) -> schema.Schema:
        """The schema of the broker's keys, even if this version does not know it.

        Raises:
            BrokerUnsuitable: if its record is not valid.
            BrokerUnavailable, BrokerDenied: if the broker does not answer, or refuses the user.
        """
        with self.translated():
            found = await schema.read(self.connections.scripts(await self.server(SCHEMA)).call, self.shown)
        return found or schema.CURRENT

    async def write_schema(self) -> None:
        """Record that the keys are of this version's schema, over whatever is there.

        Raises:
            BrokerUnavailable, BrokerDenied, BrokerFull: if it cannot be written.
        """
        with self.translated():
            await schema.write(self.connections.scripts(await self.server(SCHEMA)).call)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the client library's errors as ours, and forget what may be outdated after them."""
        try:
            yield
        except (redis_errors.RedisError, OSError) as error:
            if self._guard.closed:
                raise ClientUnusable("the client was closed in the middle of this call") from error
            translated = translate(error, self.shown, self._parsed)
            if isinstance(translated, BrokerUnavailable):
                self._nodes.forget()
                self.generation += 1
                self._scripts = {}  # a new one, so that a server found before this is not kept after it
                self._schema_checked = False  # the server that answers next may be another one, or upgraded
            raise translated from error

    def refusal(self, text: str) -> BrokerError:
        """Our error for one that a script caught, so that the rest of its batch was not refused with it."""
        return translate(redis_errors.ResponseError(text.removeprefix("ERR ")), self.shown, self._parsed)

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """``translated``, and a server that has never answered is asked which protocol it speaks.

        Raises:
            TLSFailed: if it speaks TLS and the URL does not, or the other way round.
        """
        try:
            with self.translated():
                yield
        except BrokerUnavailable as error:
            await self._check_scheme(error)
            raise

    async def _check_scheme(self, error: BrokerUnavailable) -> None:
        if self._answered or isinstance(error, TLSFailed):
            return
        if why := await wrong_scheme(self._parsed):
            raise TLSFailed(f"no connection to the broker at {self.shown} is possible: {why}") from error

    async def close(self) -> None:
        """Close every connection; harmless when repeated. Questions raise ``ClientUnusable`` from now on."""
        self._guard.close()
        await self.connections.close()

    async def _client(self, key: str) -> Any:
        return self.connections.client(await self.server(key))

    async def _script_connection(self, key: str) -> ScriptConnection:
        """Kept for each key, because every batch needs one: to find the server costs more than to send the call."""
        known = self._scripts
        scripts = known.get(key)
        if scripts is None:
            scripts = known[key] = self.connections.scripts(await self.server(key))
        return scripts

    async def _retried(
        self,
        key: str,
        question: Callable[[C], Awaitable[T]],
        connection: Callable[[str], Awaitable[C]],
        commands: Callable[[C], schema.Command],
        *,
        once: bool,
    ) -> T:
        """Put a question by one kind of ``connection``.

        The schema is checked over the same kind: another connection may be dead too, and there may be only one retry.
        """
        started = time.monotonic()
        retries: Retries | None = None
        while True:
            if self._guard.loop is not asyncio.get_running_loop():
                self._guard.check()
            try:
                with self.translated():
                    if not self._schema_checked:
                        await schema.check(commands(await connection(SCHEMA)), self.shown)
                        self._schema_checked = self._answered = True
                    return await question(await connection(key))
            except TLSFailed:
                raise
            except BrokerUnavailable as error:
                retries = retries or Retries(0 if once else self.patience, started)
                if not await retries.pause():
                    await self._check_scheme(error)
                    raise
            except BrokerFull as error:
                if retries is None:
                    raise
                raise BrokerUnavailable(
                    f"{error}; but an earlier attempt was not answered, and may have written"
                ) from error


def _commands(client: Any) -> schema.Command:
    """Sends a single command with a client; the library must not turn SET's answer into whether it is OK."""
    return partial(client.execute_command, get=True)
