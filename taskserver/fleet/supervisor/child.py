"""One replica as its supervisor holds it: a fresh interpreter, and the link to it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from taskserver.domain.fleet import FleetCommand
from taskserver.fleet.interpreter import interpreter
from taskserver.fleet.link import Begin, Down, Heard, Ready, Refused, Reopen, Stop, Stopping, Up, pack, read
from taskserver.fleet.supervisor.reaper import children

UNANSWERED_SECONDS = 20.0
"""How much longer than its jobs may take a replica has to end, before it is killed: it may be stuck."""
LAST_WORDS_SECONDS = 1.0

log = logging.getLogger("taskserver.supervisor")


class Child:
    """A replica's process.

    Attributes:
        number: Its number.
        pid: Its process.
        ready: What it said when it began to take jobs; None before.
        refused: What it said when it could not work; None if it did not.
        left: Set once it takes no more jobs: it stops, or is gone.
        changed: Set once it takes jobs, or never will.
        code: Its exit code, or the negative number of a signal; None as long as it lives.
        told: Whether it was told to stop.
    """

    def __init__(self, begin: Begin, heard: Callable[[FleetCommand], None]) -> None:
        self.number = begin.number
        self.pid = 0
        self.ready: Ready | None = None
        self.refused: Refused | None = None
        self.left = asyncio.Event()
        self.changed = asyncio.Event()
        self.code: int | None = None
        self.told = False
        self.ready_at = 0.0
        self._begin = begin
        self._heard = heard
        self._grace = begin.assignment.worker.grace_period
        self._life: asyncio.Task[None] | None = None
        self._killing: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start the process and give it its assignment.

        Raises:
            OSError: if the system has no room for another process.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, children.starting():
                self._process = await asyncio.create_subprocess_exec(*_command(self._begin), stdin=theirs.fileno())
                children.add(self._process.pid)
        except BaseException:
            ours.close()
            raise
        self.pid = self._process.pid
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        self._say(self._begin)
        self._life = asyncio.create_task(self._live(reader))

    def stop(self, *, hurry: bool = False) -> None:
        """Let it drain, or not even that. What is stuck all the same is killed in the end."""
        if self.code is not None or (self.told and not hurry):
            return
        self.told = True
        self._say(Stop(hurry))
        if self._killing is not None:
            self._killing.cancel()
        wait = UNANSWERED_SECONDS + (0.0 if hurry else self._grace)
        self._killing = asyncio.get_running_loop().call_later(wait, self._kill)

    def reopen(self, log_file: str) -> None:
        """Let it print to the file of that name from now on."""
        self._say(Reopen(log_file))

    async def ended(self) -> int:
        """Wait until it is gone; its exit code, or the negative number of a signal."""
        assert self._life is not None  # noqa: S101 - it was started
        await asyncio.shield(self._life)
        return self.code or 0

    @property
    def seconds_ready(self) -> float:
        """For how long it has taken jobs."""
        return time.monotonic() - self.ready_at if self.ready else 0.0

    async def _live(self, reader: asyncio.StreamReader) -> None:
        listening = asyncio.create_task(self._listen(reader))
        code = await self._process.wait()
        children.discard(self.pid)
        with suppress(TimeoutError):  # a program that a tool has started may hold the link open
            await asyncio.wait_for(listening, LAST_WORDS_SECONDS)
        if self._killing is not None:
            self._killing.cancel()
        self._writer.close()
        self.code = code
        self.left.set()
        self.changed.set()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await read(reader, Up)) is not None:
            match message:
                case Ready():
                    self.ready, self.ready_at = message, time.monotonic()
                    self.changed.set()
                case Refused():
                    self.refused = message
                case Stopping():
                    self.left.set()
                case Heard():
                    self._heard(message.order)

    def _say(self, message: Down) -> None:
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    def _kill(self) -> None:
        log.warning("replica %d (pid %d) does not end: it is killed", self.number, self.pid)
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)


def _command(begin: Begin) -> list[str]:
    """The command of a replica; its last word is for people who look at the list of processes."""
    return [*interpreter(), "-m", "taskserver.fleet.replica", f"{begin.assignment.task_server}/{begin.number}"]
