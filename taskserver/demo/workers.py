"""The demo's workers: real processes that are started, killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from taskserver.demo.checks import CheckFailed
from taskserver.demo.environment import DemoEnvironment
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues

TOOLS = "taskserver.demo.tools"
SLOTS = 4
LEASE = 2.0
"""Seconds of silence after which another worker takes a worker's jobs; short, to keep the demo short."""
START_SECONDS = 20.0
STOP_SECONDS = 10.0
LOG_LINES = 12
_POLL_SECONDS = 0.02


class WorkerProcess(NamedTuple):
    """One worker process, and its log file."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


class LogTail(NamedTuple):
    """The end of a worker's log."""

    pid: int
    lines: list[str]


class DemoWorkers:
    """Worker processes that end with the ``async with`` block, whatever happens in it.

    Args:
        environment: Where they run.
        size: How many.

    Attributes:
        processes: The processes.
    """

    def __init__(self, environment: DemoEnvironment, size: int = 2) -> None:
        self._environment = environment
        self._size = size
        self._killed: set[int] = set()
        self.processes: list[WorkerProcess] = []

    async def __aenter__(self) -> Self:
        try:
            for number in range(1, self._size + 1):
                self.processes.append(await self._start(self._environment.folder / f"worker-{number}.log"))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_until_ready(self, broker: Broker) -> None:
        """Wait until the broker knows every worker.

        Raises:
            CheckFailed: if one exits instead.
            TimeoutError: if it takes longer than ``START_SECONDS``.
        """
        async with asyncio.timeout(START_SECONDS):
            while len((await queues.info(broker, self._environment.queue)).workers) < self._size:
                for each in self.processes:
                    if each.process.returncode is not None:
                        raise CheckFailed(f"worker {each.pid} exited with code {each.process.returncode}")
                await asyncio.sleep(_POLL_SECONDS)

    def named(self, worker: str) -> WorkerProcess:
        """The process of a worker by its name in a job's status: host, process id and a random part.

        Raises:
            CheckFailed: if the worker is not one of the demo's.
        """
        for each in self.processes:
            if worker.split("-")[-2:-1] == [str(each.pid)]:
                return each
        raise CheckFailed(f"the job runs on worker {worker!r}, which does not belong to this demo")

    async def kill(self, worker: WorkerProcess) -> None:
        """Kill a worker as a crash would (SIGKILL): it cannot finish, hand over or report anything."""
        self._killed.add(worker.pid)
        worker.process.kill()
        await worker.process.wait()

    async def stop(self) -> list[str]:
        """Stop every worker (SIGTERM), and wait until it has exited; harmless when repeated.

        Returns:
            A sentence for each worker that did not exit as expected.
        """
        for each in self.processes:
            if each.process.returncode is None:
                each.process.send_signal(signal.SIGTERM)
        codes = await asyncio.gather(*map(_exit_code, self.processes))
        expected = [-signal.SIGKILL if each.pid in self._killed else 0 for each in self.processes]
        return [
            f"worker {each.pid} exited with code {code}, not {wanted}"
            for each, code, wanted in zip(self.processes, codes, expected, strict=True)
            if code != wanted
        ]

    def log_tails(self) -> list[LogTail]:
        """The end of each worker's log."""
        logs = [(each.pid, each.log.read_text(encoding="utf-8", errors="replace")) for each in self.processes]
        return [LogTail(pid, text.splitlines()[-LOG_LINES:]) for pid, text in logs]

    async def _start(self, log: Path) -> WorkerProcess:
        arguments = ["worker", "--queue", self._environment.queue, "--tools", TOOLS]
        arguments += ["--concurrency", str(SLOTS), "--lease", f"{LEASE:g}"]
        variables = {**os.environ, "TASKSERVER_GRACE_PERIOD": "0.2", **self._environment.variables}
        with log.open("wb") as output:
            # A session of its own: Ctrl-C goes to the demo, which then stops the workers. The temporary folder: in
            # the current one, files could hide modules.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "taskserver", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._environment.folder,
                env=variables,
                start_new_session=True,
            )
        return WorkerProcess(process, log)


async def _exit_code(worker: WorkerProcess) -> int:
    """The exit code of a worker that was asked to stop; it is killed if it does not."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await worker.process.wait()
    except TimeoutError:
        worker.process.kill()
        return await worker.process.wait()
