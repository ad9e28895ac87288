"""One tool process, as its worker sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from taskserver.domain.job import Failure
from taskserver.domain.sizes import size_text
from taskserver.errors import PermanentError, RaisedInProcess, ToolCrashed
from taskserver.tools.context import Context
from taskserver.tools.lifetime import CLOSE_SECONDS
from taskserver.tools.processes.memory import resident_bytes
from taskserver.tools.processes.wire import (
    HEAD,
    MOST_BYTES,
    JobBegun,
    Logged,
    ProcessJob,
    ProcessMessage,
    ProcessReady,
    Reported,
    ToolRaised,
    ToolReturned,
    Welcome,
    decode_process_message,
    frame,
)

START_SECONDS = 120.0
"""How long importing the tools' modules may take."""
WATCH_SECONDS = 0.1
"""How often the memory of a tool with ``max_memory`` is measured."""
LEAVE_SECONDS = 1.0
"""How long a process whose link is broken may take to end by itself."""

_PROGRAM = str(Path(__file__).with_name("start.py"))

log = logging.getLogger("taskserver.worker")


class _RaisedPermanent(RaisedInProcess, PermanentError):
    """A tool raised an error after which another attempt would not help."""


class NotBegun(ToolCrashed):
    """The process ended before it received the job, which can be given to another one."""


class ToolProcess:
    """A process that runs one job at a time. ``spawn`` makes it.

    Attributes:
        spent: Whether it takes no more jobs.
        ended: Completes when it is gone; its process id may be reused from then on.
    """

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket, crash: int) -> None:
        self._process = process
        self._socket = link
        self._crash = crash
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._held: int | None = None
        self._last_words = ""
        self._number = 0
        self._begun = 0
        self._reaping: asyncio.Task[None] | None = None
        self.spent = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    def spawn(cls, life: int) -> Self:
        """Start a process, not by fork, which would copy locks and connections; ``life`` is a pipe's reading end.

        Raises:
            OSError: if there is no memory, or no more processes are allowed.
        """
        ours, theirs = socket.socketpair()
        crash, last_words = os.pipe()
        os.set_blocking(last_words, False)  # read only after it has ended
        inherited = (theirs.fileno(), life, last_words)
        try:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [sys.executable, "-u", "-P", _PROGRAM, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                process_group=0,  # Ctrl-C is handled by the worker, and the whole group can be killed at once
            )
        except BaseException:
            ours.close()
            os.close(crash)
            raise
        finally:
            theirs.close()
            os.close(last_words)
        return cls(process, ours, crash)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can be given another job."""
        return not self.spent and self._reaping is None and self._process.poll() is None

    async def ready(self, welcome: Welcome) -> None:
        """Wait until it accepts jobs.

        Raises:
            ToolCrashed: if it ended before that, or took too long.
        """
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self._writer.write(_greeting() + frame(welcome))
        try:
            async with asyncio.timeout(START_SECONDS):
                while not isinstance(answer := await self._answer("before it accepted jobs"), ProcessReady):
                    self._log(answer)
        except TimeoutError:
            raise ToolCrashed(
                f"the tool process was not ready within {START_SECONDS:g} s: "
                "check that its modules do not hang on import"
            ) from None

    async def run(self, make: Callable[[int], ProcessJob], context: Context) -> Any:
        """Run a job, pass on its reports and log records, and return the result as plain data.

        The process is killed unless the tool returns or raises, for example when this is cancelled.

        Raises:
            RaisedInProcess: if the tool raised an error; also a ``PermanentError`` if another attempt would not help.
            NotBegun: if the process ended before the tool was called.
            ToolCrashed: if it ended later.
        """
        assert self._writer is not None  # noqa: S101 - it is ready
        self._number += 1
        job = make(self._number)
        watch = asyncio.create_task(self._watch(job.max_memory)) if job.max_memory is not None else None
        try:
            self._writer.write(frame(job))
            return await self._outcome(job, context)
        except ToolCrashed as crash:
            if self._begun != self._number:
                raise NotBegun(crash.error_message) from None
            raise
        except RaisedInProcess:
            raise
        except BaseException:
            self.kill()
            raise
        finally:
            if watch is not None:
                watch.cancel()

    async def _outcome(self, job: ProcessJob, context: Context) -> Any:
        while True:
            match answer := await self._answer(f"while it ran {job.tool!r}", job.max_memory):
                case JobBegun(number):
                    self._begun = number
                case Reported(number, report) if number == job.number:
                    await context._put(report)
                case ToolReturned(number, result, spent) if number == job.number:
                    self.spent = spent
                    return msgspec.msgpack.decode(result)
                case ToolRaised(number, failure, permanent, spent) if number == job.number:
                    self.spent = spent
                    raise _raised(failure, permanent)
                case _:
                    self._log(answer)

    async def _answer(self, when: str, max_memory: int | None = None) -> ProcessMessage:
        """The next message from the process.

        Raises:
            ToolCrashed: if the process has ended, or sent something invalid.
        """
        assert self._reader is not None  # noqa: S101 - it was started
        try:
            (length,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if length <= MOST_BYTES:
                answer: ProcessMessage = decode_process_message(await self._reader.readexactly(length))
                return answer
        except (OSError, asyncio.IncompleteReadError):
            await self._reaped()
            raise ToolCrashed(f"the process {self._how_it_ended(max_memory)} {when}", self._last_words) from None
        except msgspec.MsgspecError:
            length = -1
        self.kill()
        raise ToolCrashed(f"the process sent an invalid message {when}, and was killed: its memory may be corrupted")

    def _log(self, answer: ProcessMessage) -> None:
        """Log a record of the process here, in the context of the attempt that is running."""
        if not isinstance(answer, Logged):  # from an earlier job
            return
        logger = logging.getLogger(answer.logger)
        if not logger.isEnabledFor(answer.level):
            return
        record = logger.makeRecord(
            logger.name,
            answer.level,
            answer.file,
            answer.line,
            answer.text,
            (),
            None,
            answer.function,
        )
        vars(record).update(answer.extra)
        record.created, record.process, record.exc_text = answer.created, self.pid, answer.traceback
        logger.handle(record)

    async def _watch(self, most: int | None) -> None:
        """Kill the process if its resident memory exceeds the maximum; ``RLIMIT_DATA`` does not cover everything."""
        while most is not None:
            await asyncio.sleep(WATCH_SECONDS)
            held = await resident_bytes(self.pid)
            if held is not None and held > most:
                self._held = held
                self.kill()
                return

    def kill(self) -> None:
        """Kill the process and all programs that it has started, whatever it is doing."""
        self.spent = True
        self._signal()
        self._reap_soon(0)

    def dismiss(self) -> None:
        """Let the idle process close what its tools have open, and end by itself; kill it if it does not."""
        self.spent = True
        if self._writer is not None:
            self._writer.close()
        self._reap_soon(CLOSE_SECONDS)

    def _signal(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a zombie
                os.killpg(self.pid, signal.SIGKILL)

    def _reap_soon(self, patience: float) -> None:
        if self._reaping is None:
            self._reaping = asyncio.create_task(self._reap(patience), name="reap tool process")
            self._reaping.add_done_callback(self._reap_again)

    def _reap_again(self, reaping: asyncio.Task[None]) -> None:
        """Whoever waits for the end of the process must not wait in vain, even if other code cancels all tasks."""
        if reaping.cancelled():
            self._reaping = None
            self._reap_soon(0)

    async def _reaped(self) -> None:
        """Wait until a process whose link is broken has ended; kill it if need be."""
        self._reap_soon(LEAVE_SECONDS)
        await asyncio.shield(self.ended)

    async def _reap(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + patience, 0.0005
        while not self._has_ended():
            if loop.time() >= deadline:
                self._signal()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        self._signal()  # programs that it has started, before its id can be reused
        self._process.wait()
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()
        self._last_words = self._read_crash()
        self.ended.set_result(None)

    def _has_ended(self) -> bool:
        """Whether it has ended, if possible without releasing its process id (on macOS since Python 3.13)."""
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # ``usable`` has already reaped it
            return True

    def _read_crash(self) -> str:
        os.set_blocking(self._crash, False)
        try:
            return os.read(self._crash, 64 * 1024).decode("utf-8", "replace")
        except BlockingIOError:  # nothing was written, and another process still holds the other end
            return ""
        finally:
            os.close(self._crash)

    def _how_it_ended(self, max_memory: int | None) -> str:
        code = self._process.returncode
        if self._held is not None and max_memory is not None:
            return f"used {size_text(self._held)}, more than its max_memory of {size_text(max_memory)}, and was killed"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was killed by {name}{_WHY.get(name, '')}"
        return f"was killed by signal {-code}"


_WHY = {
    "SIGSEGV": " (it accessed invalid memory)",
    "SIGKILL": " (by a user, or by the kernel because the machine was out of memory)",
}


def _greeting() -> bytes:
    """The worker's process id and module path, which the process reads before it imports anything of ours."""
    return json.dumps([os.getpid(), [os.path.abspath(path) for path in sys.path]]).encode() + b"\n"


def _raised(failure: Failure, permanent: bool) -> RaisedInProcess:
    kind = _RaisedPermanent if permanent else RaisedInProcess
    return kind(failure.type, failure.message, failure.traceback)
