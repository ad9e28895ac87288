"""Adapter processes: started, asked, measured with all their children, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.peers.environments import ROOT

START_LIMIT = 60
"""Seconds for an adapter to import its system."""


class MeasurementFailed(Exception):
    """What was measured did not work; the message goes into the table."""


class NotSupported(MeasurementFailed):
    """The system has nothing that could be measured."""


class AdapterProcess:
    """One adapter, as producer or worker.

    Args:
        command: How it is started.
        environment: Variables for it.
        log: File for what it prints.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._command = command
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                limit=64 * 1024 * 1024,
            )
        async with asyncio.timeout(START_LIMIT):
            await self._answer()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in self._tree():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._process = None

    def tell(self, line: str) -> None:
        """Send one line."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            NotSupported: if the system cannot do this.
            MeasurementFailed: if it failed.
        """
        self.tell(json.dumps(request))
        answer = await self._answer()
        if "unsupported" in answer:
            raise NotSupported(answer["unsupported"])
        if "error" in answer:
            raise MeasurementFailed(answer["error"])
        return answer

    def check(self) -> None:
        """Raise if it has ended by itself.

        Raises:
            MeasurementFailed: with the last line that it printed.
        """
        if self._process is None or self._process.returncode is not None:
            raise MeasurementFailed(f"the process ended: {self._last_words()}")

    def cpu(self) -> float:
        """CPU seconds that it and its children used, those that ended counted too."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total

    def rss(self) -> int:
        """Resident bytes of it and its children; pages that they share are counted for each."""
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def _tree(self) -> list[psutil.Process]:
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    async def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise MeasurementFailed(f"the process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it printed nothing"
