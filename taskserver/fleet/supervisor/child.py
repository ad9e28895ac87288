"""One replica as its supervisor sees it: a process with a fresh interpreter, and the link to it."""

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
from taskserver.fleet.link import (
    Begin,
    FromReplica,
    Heard,
    Ready,
    Refused,
    Reopen,
    Stopping,
    StopReplica,
    ToReplica,
    pack,
    read,
)
from taskserver.fleet.supervisor.reaper import children
from taskserver.worker.process_exit import LEAVE_SECONDS

KILL_SECONDS = LEAVE_SECONDS + 5.0
"""A replica that is asked to stop is killed this long after its grace period: it is stuck."""
LAST_MESSAGES_SECONDS = 1.0

log = logging.getLogger("taskserver.supervisor")


class Child:
    """A replica's process.

    Args:
        begin: The first message to it.
        on_command: Called with each command for the supervisor that the replica receives over the broker.

    Attributes:
        number: The replica's number.
        pid: Its process.
        ready: Its message that it takes jobs; None before.
        refused: Its message that it cannot start; None if there is none.
        started: Set once it takes jobs, or never will.
        stopping: Set once it takes no more jobs: it is stopping, or has exited.
        stop_sent: Whether it was asked to stop.
        exit_code: Its exit code, or the negative number of a signal; None while it runs.
    """

    def __init__(self, begin: Begin, on_command: Callable[[FleetCommand], None]) -> None:
        self.number = begin.number
        self.pid = 0
        self.ready: Ready | None = None
        self.refused: Refused | None = None
        self.started = asyncio.Event()
        self.stopping = asyncio.Event()
        self.stop_sent = False
        self.exit_code: int | None = None
        self._begin = begin
        self._on_command = on_command
        self._grace_period = begin.assignment.worker.grace_period
        self._ready_at = 0.0
        self._running: asyncio.Task[None] | None = None
        self._kill_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start the process and send it its assignment.

        Raises:
            OSError: if the system cannot start another process.
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
        self._send(self._begin)
        self._running = asyncio.create_task(self._run(reader))

    def stop(self, *, hurry: bool = False) -> None:
        """Tell it to drain, or with ``hurry`` to stop at once; it is killed if it does not exit in time."""
        if self.exit_code is not None or (self.stop_sent and not hurry):
            return
        self.stop_sent = True
        self._send(StopReplica(hurry))
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        wait = KILL_SECONDS + (0.0 if hurry else self._grace_period)
        self._kill_timer = asyncio.get_running_loop().call_later(wait, self._kill)

    def reopen(self, log_file: str) -> None:
        """Let it print to the file of this name from now on."""
        self._send(Reopen(log_file))

    async def wait(self) -> int:
        """Wait until it has exited; return its exit code, or the negative number of a signal."""
        assert self._running is not None  # noqa: S101 - it was started
        await asyncio.shield(self._running)
        return self.exit_code or 0

    @property
    def seconds_ready(self) -> float:
        """How long it has been taking jobs."""
        return time.monotonic() - self._ready_at if self.ready else 0.0

    async def _run(self, reader: asyncio.StreamReader) -> None:
        listening = asyncio.create_task(self._listen(reader))
        exit_code = await self._process.wait()
        children.discard(self.pid)
        with suppress(TimeoutError):  # a program that a tool has started may hold the link open
            await asyncio.wait_for(listening, LAST_MESSAGES_SECONDS)
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._writer.close()
        self.exit_code = exit_code
        self.stopping.set()
        self.started.set()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await read(reader, FromReplica)) is not None:
            match message:
                case Ready():
                    self.ready, self._ready_at = message, time.monotonic()
                    self.started.set()
                case Refused():
                    self.refused = message
                case Stopping():
                    self.stopping.set()
                case Heard():
                    self._on_command(message.command)

    def _send(self, message: ToReplica) -> None:
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    def _kill(self) -> None:
        log.warning("replica %d (pid %d) did not stop in time: killing it", self.number, self.pid)
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)


def _command(begin: Begin) -> list[str]:
    """The command of a replica; its last word is for people who list processes."""
    return [*interpreter(), "-m", "taskserver.fleet.replica", f"{begin.assignment.task_server}/{begin.number}"]
