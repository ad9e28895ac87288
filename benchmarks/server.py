"""A private broker for one benchmark run, and what it says of its own work."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from taskserver.embedded import find_binary
from taskserver.errors import BrokerUnavailable
from taskserver.store.broker.connection import Broker


class Work(NamedTuple):
    """What a server has done: CPU seconds, commands (in scripts too), socket reads (round trips), bytes in and out."""

    cpu: float
    commands: int
    reads: int
    traffic: int

    def __sub__(self, other: Work) -> Work:
        return Work(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))  # type: ignore[arg-type]


class Server:
    """A broker process without persistence, so that disks do not matter.

    Args:
        binary: A redis-server or valkey-server; None for the embedded one.
        tcp: Listen on a loopback port, which every system can reach, instead of a unix socket.
        options: More of its command line.
    """

    def __init__(self, binary: str | None, *, tcp: bool = False, options: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="taskserver-bench-"))
        self.port = free_port() if tcp else 0
        self.options = options
        self._binary = binary or str(find_binary())
        self.url = f"redis://127.0.0.1:{self.port}/0" if tcp else f"unix://{self.folder / 's'}"
        self.broker = Broker(self.url, patience=10)
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        where = ["--bind", "127.0.0.1"] if self.port else ["--unixsocket", str(self.folder / "s")]
        options = [
            *where,
            "--port",
            str(self.port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self.folder),
            *self.options,
        ]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                await self._ask(lambda client: client.ping())
                break
            except BrokerUnavailable:
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()
        if self._process:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def empty(self) -> None:
        """Forget everything, and wait until its memory is free: a million jobs take the server seconds."""
        await self._ask(lambda client: client.flushall(asynchronous=True))
        while (await self._info("memory"))["lazyfree_pending_objects"]:
            await asyncio.sleep(0.01)
        self.broker._preparer.prepared.clear()

    async def product(self) -> str:
        """The server's name and version."""
        info = await self._info("server")
        return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"

    async def work(self) -> Work:
        """What it has done so far."""
        info = await self._info("everything")
        cpu = info["used_cpu_user"] + info["used_cpu_sys"]
        calls = sum(stat["calls"] for name, stat in info.items() if name.startswith("cmdstat_"))
        traffic = info["total_net_input_bytes"] + info["total_net_output_bytes"]
        return Work(cpu, calls, info["total_reads_processed"], traffic)

    async def memory(self) -> int:
        """Bytes that its data and clients take."""
        return int((await self._info("memory"))["used_memory"])

    async def clients(self) -> int:
        """Connections that it has."""
        return int((await self._info("clients"))["connected_clients"])

    async def number(self, command: str) -> int:
        """The number that a command answers with: ``XLEN key``, ``XPENDING key group``."""
        answer = await self._ask(lambda client: client.execute_command(*command.split()))
        return int(answer["pending"] if isinstance(answer, dict) else answer)

    async def _info(self, section: str) -> dict[str, Any]:
        info: dict[str, Any] = await self._ask(lambda client: client.info(section))
        return info

    async def _ask(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        with self.broker.translated():
            return await question(self.broker.client(self.broker.url))


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
