"""A private broker for one benchmark run, and what it says of its own work."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

from taskserver.embedded import find_binary
from taskserver.errors import BrokerUnavailable
from taskserver.store.connection import Broker


class Work(NamedTuple):
    """What a server has done: CPU in seconds, commands (those inside scripts too), socket reads (round trips)."""

    cpu: float
    commands: int
    reads: int

    def __sub__(self, other: Work) -> Work:
        return Work(self.cpu - other.cpu, self.commands - other.commands, self.reads - other.reads)


class Server:
    """A broker process on a unix socket; without persistence, so that disks do not matter."""

    def __init__(self, binary: str | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="taskserver-bench-"))
        self._binary = binary or str(find_binary())
        self.url = f"unix://{self._folder / 's'}"
        self.broker = Broker(self.url, patience=10)
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        options = ["--port", "0", "--unixsocket", str(self._folder / "s"), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                with self.broker.translated():
                    await self.broker.client(self.broker.url).ping()
                break
            except BrokerUnavailable:
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()
        if self._process:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def empty(self) -> None:
        """Forget everything."""
        await self.broker.client(self.broker.url).flushall()
        self.broker._prepared.clear()

    async def product(self) -> str:
        """The server's name and version."""
        info = await self.broker.client(self.broker.url).info("server")
        return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"

    async def work(self) -> Work:
        """What it has done so far."""
        info = await self.broker.client(self.broker.url).info("everything")
        cpu = info["used_cpu_user"] + info["used_cpu_sys"]
        calls = sum(stat["calls"] for name, stat in info.items() if name.startswith("cmdstat_"))
        return Work(cpu, calls, info["total_reads_processed"])
