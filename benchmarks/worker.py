"""A worker process under measurement."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Self

from taskserver.store import queues
from taskserver.store.connection import Broker

TICKS = os.sysconf("SC_CLK_TCK")


class WorkerProcess:
    """``taskserver worker`` as a process; inside the block it is ready."""

    def __init__(self, broker: Broker, queue: str, concurrency: int) -> None:
        self._broker = broker
        self._queue = queue
        self._concurrency = concurrency
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "taskserver", "worker", "--concurrency", str(self._concurrency)),
            *("--queue", self._queue, "--tools", "benchmarks.tools", "--broker", self._broker.url, "-l", "error"),
        )
        while not (await queues.info(self._broker, self._queue)).workers:
            await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            await self._process.wait()

    def cpu(self) -> float:
        """CPU seconds that it has used; NaN where the system does not tell."""
        if self._process is None or not sys.platform.startswith("linux"):
            return float("nan")
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
