"""Brokers of one or several masters for one benchmark run."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Self

from benchmarks.server import Server, Work, free_port
from taskserver.store.broker.connection import Broker

SLOTS = 16_384


class Masters:
    """A single server, or the masters of a Redis Cluster, on loopback and without persistence.

    Args:
        binary: A redis-server or valkey-server; None for the embedded one.
        count: Masters of a cluster; 0 for a single server.

    Attributes:
        servers: The servers.
        broker: All of them together.
    """

    def __init__(self, binary: str | None, count: int) -> None:
        self._count = count
        self.servers = [Server(binary, tcp=True, options=_options() if count else ()) for _ in range(count or 1)]
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        self.broker = Broker(f"redis+cluster://{hosts}" if count else f"redis://{hosts}/0", patience=30)
        self._started = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in self.servers:
            await self._started.enter_async_context(server)
        if self._count:
            await self._join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()
        await self._started.aclose()

    async def work(self) -> Work:
        """What they have done so far, together."""
        return Work(*(sum(each) for each in zip(*[await server.work() for server in self.servers], strict=True)))

    async def memory(self) -> int:
        """Bytes that their data and clients take."""
        return sum([await server.memory() for server in self.servers])

    async def clients(self) -> int:
        """Connections that they have."""
        return sum([await server.clients() for server in self.servers])

    async def _join(self) -> None:
        """Deal the slots, and wait until every node agrees."""
        count = len(self.servers)
        for i, server in enumerate(self.servers):
            last = -(-SLOTS * (i + 1) // count) - 1
            await _command(server, "CLUSTER", "ADDSLOTSRANGE", -(-SLOTS * i // count), last)
            await _command(server, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for server in self.servers[1:]:
            bus = server.options[server.options.index("--cluster-port") + 1]
            await _command(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for server in self.servers:
            while not await _is_whole(server, count):
                await asyncio.sleep(0.02)


def _options() -> tuple[str, ...]:
    return "--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "5000"


async def _command(server: Server, *words: object) -> Any:
    return await server.broker.client(server.url).execute_command(*words)


async def _is_whole(server: Server, count: int) -> bool:
    info = await _command(server, "CLUSTER", "INFO")
    lines = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
    return bool(lines["cluster_state"] == "ok" and lines["cluster_known_nodes"] == str(count))
