"""A worker process under measurement."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Self

from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues

TICKS = os.sysconf("SC_CLK_TCK")


class WorkerProcess:
    """``taskserver worker`` as a process; inside the block it is ready.

    Args:
        broker: Where.
        queue: Which it works on.
        concurrency: Its slots.
        tools: The module with its tools.
        nth: It is ready when the queue has so many workers.
    """

    def __init__(
        self, broker: Broker, queue: str, concurrency: int, *, tools: str = "benchmarks.tools", nth: int = 1
    ) -> None:
        self._tools = tools
        self._nth = nth
        self._broker = broker
        self._queue = queue
        self._concurrency = concurrency
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "taskserver", "worker", "--concurrency", str(self._concurrency)),
            *("--queue", self._queue, "--tools", self._tools, "--broker", self._broker.url, "-l", "error"),
        )
        try:
            while len((await queues.info(self._broker, self._queue)).workers) < self._nth:
                if self._process.returncode is not None:
                    raise RuntimeError(f"the worker ended with exit code {self._process.returncode}: see its output")
                await asyncio.sleep(0.02)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    def cpu(self) -> float:
        """CPU seconds that it has used; NaN where the system does not tell."""
        if self._process is None or not sys.platform.startswith("linux"):
            return float("nan")
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
