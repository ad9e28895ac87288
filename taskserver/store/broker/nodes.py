"""Which server holds a key: always the same one, the master that Sentinels name, or the owner of the key's slot.

Servers change their roles without telling anybody. So what is known here is forgotten as soon as a server does not
answer, refuses a write, or says that a slot is elsewhere; the next call asks again. Asking is blocking code, since the
heartbeat's thread needs it as well as the event loop, and rarely.

A slot that is being moved between nodes is not followed (no ASKING): scripts touch keys that they find out about only
as they read, and meanwhile some of them are on one node and some on the other. Until the slot has arrived its queues
pause, as with any server that does not answer.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import Any, NamedTuple

import redis.connection
from redis import exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from taskserver.store.broker.connections import connection_class
from taskserver.store.broker.urls import Address, BrokerURL

ASK_SECONDS = 2.0
"""Maximum time to wait for a Sentinel or node to answer, before the next one is asked."""


class Nodes(ABC):
    """The servers of a broker, by name. Safe to use from several threads."""

    @abstractmethod
    def known(self, key: str) -> str | None:
        """The server that holds ``key``, if that is known; never waits."""

    @abstractmethod
    def find(self, key: str) -> str:
        """The server that holds ``key``; asks for it if necessary.

        Raises:
            redis.exceptions.ConnectionError: if nobody answers, or knows.
        """

    @abstractmethod
    def masters(self) -> list[str]:
        """Every server that accepts writes; asks for them if necessary."""

    @abstractmethod
    def forget(self) -> None:
        """Ask again next time: what is known may be outdated."""


def nodes_of(url: BrokerURL) -> Nodes:
    """The servers of the broker at ``url``."""
    match url.kind:
        case "sentinel":
            return SentinelNodes(url)
        case "cluster":
            return ClusterNodes(url)
        case _:
            return SingleServer(url)


class SingleServer(Nodes):
    """One server."""

    def __init__(self, url: BrokerURL) -> None:
        self._name = url.name

    def known(self, key: str) -> str:
        """The server."""
        return self._name

    def find(self, key: str) -> str:
        """The server."""
        return self._name

    def masters(self) -> list[str]:
        """The server."""
        return [self._name]

    def forget(self) -> None:
        """Nothing: it is always the same server."""


class SentinelNodes(Nodes):
    """The master that Sentinels name.

    The first Sentinel that answers is believed. If it was wrong, the replica that it named refuses writes, and they are
    asked again.
    """

    def __init__(self, url: BrokerURL) -> None:
        self._url = url
        self._sentinels = list(url.hosts)
        self._asking = threading.Lock()
        self._master: str | None = None

    def known(self, key: str) -> str | None:
        """The master, as last known."""
        return self._master

    def find(self, key: str) -> str:
        """The master."""
        with self._asking:
            if self._master is None:
                self._master = self._ask()
            return self._master

    def masters(self) -> list[str]:
        """The master."""
        return [self.find("")]

    def forget(self) -> None:
        """There may have been a failover."""
        self._master = None

    def _ask(self) -> str:
        failures = []
        for position, sentinel in enumerate(self._sentinels):
            try:
                with _client(self._url, self._url.sentinel_arguments(sentinel)) as client:
                    address = client.sentinel_get_master_addr_by_name(self._url.service)
            except (redis_errors.RedisError, OSError) as error:
                failures.append(error)
                continue
            if address:
                self._sentinels.insert(0, self._sentinels.pop(position))  # it answered: ask it first next time
                return self._url.server(address[0], int(address[1]))
            failures.append(redis_errors.ConnectionError(f"no master is known as {self._url.service!r}"))
        raise redis_errors.ConnectionError(f"no Sentinel names a master: {failures[0]}") from failures[0]


class SlotRange(NamedTuple):
    """Hash slots of a cluster, from ``first`` to ``last``, and the name of the server that holds them."""

    first: int
    last: int
    server: str


class ClusterNodes(Nodes):
    """The nodes of a Redis Cluster, by the slots that they own."""

    def __init__(self, url: BrokerURL) -> None:
        self._url = url
        self._nodes = [url.server(*address) for address in url.hosts]
        self._asking = threading.Lock()
        self._owners: list[SlotRange] = []  # in order

    def known(self, key: str) -> str | None:
        """The owner of the key's slot, as last known."""
        return _owner(self._owners, key)

    def find(self, key: str) -> str:
        """The owner of the key's slot."""
        with self._asking:
            if not self._owners:
                self._owners = self._ask()
            owner = _owner(self._owners, key)
            if owner is None:
                self._owners = []
                raise redis_errors.ConnectionError("no node of the cluster currently owns the slot of this queue")
            return owner

    def masters(self) -> list[str]:
        """Every node that owns slots."""
        self.find("")
        return sorted({server for _, _, server in self._owners})

    def forget(self) -> None:
        """Slots may have moved, or masters changed."""
        self._owners = []

    def _ask(self) -> list[SlotRange]:
        failures: list[Exception] = []
        for server in self._nodes:
            try:
                owners = self._slots(server)
            except (redis_errors.RedisError, OSError) as error:
                failures.append(error)
                continue
            # Ask the nodes that it named first next time: those in the URL may be gone by then.
            named = [self._url.server(*address) for address in self._url.hosts]
            self._nodes = list(dict.fromkeys((server, *(owner for _, _, owner in owners), *named)))
            return owners
        raise redis_errors.ConnectionError(f"no node of the cluster answers: {failures[0]}") from failures[0]

    def _slots(self, server: str) -> list[SlotRange]:
        with _client(self._url, self._url.arguments(server)) as client:
            answer: Any = client.execute_command("CLUSTER SLOTS")
            asked = client.connection_pool.connection_kwargs["host"]
        return sorted(
            SlotRange(first, last, self._url.server(*_address(master, asked))) for first, last, master, *_ in answer
        )


def _owner(owners: list[SlotRange], key: str) -> str | None:
    slot = key_slot(key.encode())
    position = bisect_right(owners, slot, key=lambda owner: owner.first) - 1
    if position < 0 or owners[position].last < slot:
        return None
    return owners[position].server


def _address(node: list[Any], asked: str) -> Address:
    """Host and port of a node; one that does not know its own host has the host at which it was asked."""
    host, port = node[:2]
    return Address(host if host and host != "?" else asked, port)


def _client(url: BrokerURL, arguments: dict[str, Any]) -> redis.Redis:
    """A client for one question."""
    pool = redis.ConnectionPool(
        connection_class(redis.connection, url),
        **arguments,
        socket_timeout=ASK_SECONDS,
        socket_connect_timeout=ASK_SECONDS,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return redis.Redis.from_pool(pool)
