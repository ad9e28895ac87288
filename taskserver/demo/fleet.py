"""The demo's workers: real processes, started, awaited, killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from taskserver.demo.checks import NotAsTold
from taskserver.demo.place import Place
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues

TOOLS = "taskserver.demo.tools"
SLOTS = 4
LEASE = 2.0
"""Seconds of silence after which a worker's jobs go to another; short, so that the demo is."""
START_SECONDS = 20.0
STOP_SECONDS = 10.0
LOG_LINES = 12
_POLL_SECONDS = 0.02


class Member(NamedTuple):
    """One worker process, and the file with all that it said."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


class Fleet:
    """Worker processes that end with the ``async with`` block, whatever happens in it."""

    def __init__(self, place: Place, size: int = 2) -> None:
        self._place = place
        self._size = size
        self._killed: set[int] = set()
        self.members: list[Member] = []

    async def __aenter__(self) -> Self:
        try:
            for number in range(1, self._size + 1):
                self.members.append(await self._start(self._place.folder / f"worker-{number}.log"))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def ready(self, broker: Broker) -> None:
        """Wait until every worker is known to the broker.

        Raises:
            NotAsTold: if one ends instead.
            TimeoutError: if it takes longer than ``START_SECONDS``.
        """
        async with asyncio.timeout(START_SECONDS):
            while len((await queues.info(broker, self._place.queue)).workers) < self._size:
                for member in self.members:
                    if member.process.returncode is not None:
                        raise NotAsTold(f"worker {member.pid} ended with exit code {member.process.returncode}")
                await asyncio.sleep(_POLL_SECONDS)

    def member(self, worker: str) -> Member:
        """The process of a worker, by its name in a job's status: host, process id and a random part.

        Raises:
            NotAsTold: if it is none of ours.
        """
        for member in self.members:
            if worker.split("-")[-2:-1] == [str(member.pid)]:
                return member
        raise NotAsTold(f"the job is said to run on worker {worker!r}, which is not one of this demo's")

    async def kill(self, member: Member) -> None:
        """End a worker as a crash would (SIGKILL): it cannot finish, hand over or say anything."""
        self._killed.add(member.pid)
        member.process.kill()
        await member.process.wait()

    async def stop(self) -> list[str]:
        """Ask every worker to end (SIGTERM), and wait until it has; harmless when repeated.

        Returns:
            A sentence for each worker that did not end as it should.
        """
        for member in self.members:
            if member.process.returncode is None:
                member.process.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*map(_end, self.members))
        wanted = [-signal.SIGKILL if member.pid in self._killed else 0 for member in self.members]
        return [
            f"worker {member.pid} ended with exit code {end}, not {want}"
            for member, end, want in zip(self.members, ends, wanted, strict=True)
            if end != want
        ]

    def last_words(self) -> Iterable[tuple[str, list[str]]]:
        """For each worker, who it is and the end of its log."""
        for member in self.members:
            lines = member.log.read_text(encoding="utf-8", errors="replace").splitlines()
            yield f"worker {member.pid}", lines[-LOG_LINES:]

    async def _start(self, log: Path) -> Member:
        words = ["worker", "--queue", self._place.queue, "--tools", TOOLS]
        words += ["--concurrency", str(SLOTS), "--lease", f"{LEASE:g}"]
        environment = {**os.environ, "TASKSERVER_GRACE_PERIOD": "0.2", **self._place.environment}
        with log.open("wb") as output:
            # Sessions of their own: Ctrl-C is for the demo, which then stops them. The private folder: files where
            # the demo was started could otherwise hide modules.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "taskserver", *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._place.folder,
                env=environment,
                start_new_session=True,
            )
        return Member(process, log)


async def _end(member: Member) -> int:
    """The exit code of a worker that was told to end; one that does not is killed."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await member.process.wait()
    except TimeoutError:
        member.process.kill()
        return await member.process.wait()
