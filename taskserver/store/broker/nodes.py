"""Which server holds a key: always the same one, the master that Sentinels name, or the owner of the key's slot.

Where servers change their roles, nobody is told. So what is known here is forgotten as soon as a server does not
answer, refuses a write, or says that a slot is elsewhere; and with the next call it is asked for again. Asking is
blocking code, since the heart's thread needs it as well as the event loop, and seldom.

A slot that is being moved between nodes is not followed (no ASKING): scripts touch keys that they learn of only as
they read, and on the way some of them are here and some there. Until the slot has arrived its queues stand still,
as with any server that does not answer.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import Any

import redis
from redis import exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from taskserver.store.broker.urls import BrokerURL

ASK_SECONDS = 2.0
"""How long a Sentinel or node may take to say where the others are, before the next one is asked."""


class Nodes(ABC):
    """The servers of a broker, by URL. Safe to use from several threads."""

    @abstractmethod
    def known(self, key: str) -> str | None:
        """The server that holds ``key``, if that is known; never waits."""

    @abstractmethod
    def find(self, key: str) -> str:
        """The server that holds ``key``; waits for whoever must be asked.

        Raises:
            redis.exceptions.ConnectionError: if nobody who answers can say.
        """

    @abstractmethod
    def masters(self) -> list[str]:
        """Every server that takes writes; waits for whoever must be asked."""

    @abstractmethod
    def forget(self) -> None:
        """What is known may be wrong: ask anew next time."""


def nodes_of(url: BrokerURL) -> Nodes:
    """The servers of the broker at ``url``."""
    match url.kind:
        case "sentinel":
            return NamedBySentinels(url)
        case "cluster":
            return InCluster(url)
        case _:
            return SingleServer(url)


class SingleServer(Nodes):
    """One server."""

    def __init__(self, url: BrokerURL) -> None:
        self._url = url.url

    def known(self, key: str) -> str:
        """It."""
        return self._url

    def find(self, key: str) -> str:
        """It."""
        return self._url

    def masters(self) -> list[str]:
        """It."""
        return [self._url]

    def forget(self) -> None:
        """It stays the one."""


class NamedBySentinels(Nodes):
    """The master that Sentinels name.

    The first one to answer is believed; the server's own word counts more: a replica refuses writes, and then they
    are asked again.
    """

    def __init__(self, url: BrokerURL) -> None:
        self._url = url
        self._sentinels = url.sentinels()
        self._asking = threading.Lock()
        self._master: str | None = None

    def known(self, key: str) -> str | None:
        """The master as last heard."""
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
                with _server(sentinel) as client:
                    address = client.sentinel_get_master_addr_by_name(self._url.service)
            except (redis_errors.RedisError, OSError) as error:
                failures.append(error)
                continue
            if address:
                self._sentinels.insert(0, self._sentinels.pop(position))  # it answers: next time it is asked first
                return self._url.server(address[0], int(address[1]))
            failures.append(redis_errors.ConnectionError(f"no master is known as {self._url.service!r}"))
        raise redis_errors.ConnectionError(f"no Sentinel names a master: {failures[0]}") from failures[0]


class InCluster(Nodes):
    """The nodes of a Redis Cluster, by the slots that they own."""

    def __init__(self, url: BrokerURL) -> None:
        self._url = url
        self._nodes = [url.server(*address) for address in url.hosts]
        self._asking = threading.Lock()
        self._owners: list[tuple[int, int, str]] = []  # first and last slot, server; in order

    def known(self, key: str) -> str | None:
        """The owner of the key's slot as last heard."""
        return _owner(self._owners, key)

    def find(self, key: str) -> str:
        """The owner of the key's slot."""
        with self._asking:
            if not self._owners:
                self._owners = self._ask()
            owner = _owner(self._owners, key)
            if owner is None:
                self._owners = []
                raise redis_errors.ConnectionError("no node of the cluster owns the slot of this queue now")
            return owner

    def masters(self) -> list[str]:
        """Every node that owns slots."""
        self.find("")
        return sorted({server for _, _, server in self._owners})

    def forget(self) -> None:
        """Slots may have moved, or masters changed."""
        self._owners = []

    def _ask(self) -> list[tuple[int, int, str]]:
        failures: list[Exception] = []
        for server in self._nodes:
            try:
                owners = self._slots(server)
            except (redis_errors.RedisError, OSError) as error:
                failures.append(error)
                continue
            # Those it told of are asked first next time: the nodes that the URL names may be gone by then.
            named = [self._url.server(*address) for address in self._url.hosts]
            self._nodes = list(dict.fromkeys((server, *(owner for _, _, owner in owners), *named)))
            return owners
        raise redis_errors.ConnectionError(f"no node of the cluster answers: {failures[0]}") from failures[0]

    def _slots(self, server: str) -> list[tuple[int, int, str]]:
        with _server(server) as client:
            answer: Any = client.execute_command("CLUSTER SLOTS")
            asked = client.connection_pool.connection_kwargs["host"]
        return sorted((first, last, self._url.server(*_address(master, asked))) for first, last, master, *_ in answer)


def _owner(owners: list[tuple[int, int, str]], key: str) -> str | None:
    slot = key_slot(key.encode())
    position = bisect_right(owners, slot, key=lambda owner: owner[0]) - 1
    if position < 0 or owners[position][1] < slot:
        return None
    return owners[position][2]


def _address(told: list[Any], asked: str) -> tuple[str, int]:
    """Host and port as a node tells them; one that does not know its own host was found where it was asked."""
    host, port = told[:2]
    return host if host and host != "?" else asked, port


def _server(url: str) -> redis.Redis:
    """A client for one question."""
    return redis.Redis.from_url(
        url,
        socket_timeout=ASK_SECONDS,
        socket_connect_timeout=ASK_SECONDS,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
