"""A daemon: a supervisor in the background, ``python -m taskserver.worker.supervisor.daemon``.

Whoever starts it waits at its standard input, a socket, until it is ready or has said what is wrong (``link.py``).
It is a fresh interpreter in a session of its own, not a fork of whatever the starter was.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import BinaryIO

import msgspec

from taskserver.errors import ConfigError, TaskServerError
from taskserver.store.ending import end
from taskserver.worker.link import Ready, Refused, pack, receive
from taskserver.worker.quitting import EXIT_BROKEN
from taskserver.worker.replica import take_standard_input
from taskserver.worker.supervisor.child import interpreter
from taskserver.worker.supervisor.pidfile import pid_file
from taskserver.worker.supervisor.supervising import Fleet, supervise
from taskserver.worker.supervisor.supervisor import Supervisor


class Daemon(msgspec.Struct, frozen=True):
    """To a new daemon: what it shall do, and the file with its process's number, or empty."""

    fleet: Fleet
    pid_file: str


def launch(daemon: Daemon) -> Ready:
    """Start a supervisor in the background, and return once all its replicas take jobs.

    Raises:
        ConfigError: if its log file cannot be written.
        TaskServerError: if it cannot start; nothing of it is left then.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, _log(daemon.fleet.log_file) as log:
            command = [*interpreter(), "-m", "taskserver.worker.supervisor.daemon", daemon.fleet.assignment.task_server]
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                command, stdin=theirs.fileno(), stdout=log, stderr=log, start_new_session=True
            )
        with suppress(OSError):
            ours.sendall(pack(daemon))
        answer = receive(ours, Ready | Refused)
    if isinstance(answer, Ready):
        process.returncode = 0  # it is not waited for: it outlives this process
        return answer
    process.wait()
    if isinstance(answer, Refused):
        raise answer.error()
    raise TaskServerError(f"the daemon has ended before it was ready; see {daemon.fleet.log_file}")


def _log(path: str) -> BinaryIO:
    try:
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise ConfigError(f"the log file {path} cannot be written: {error.strerror}") from None


def main() -> int:
    """Become the daemon that the starter tells of; the exit code."""
    with take_standard_input() as link:
        daemon = receive(link, Daemon)
        if daemon is None:
            return EXIT_BROKEN
        try:
            with ExitStack() as stack:
                if daemon.pid_file:
                    stack.enter_context(pid_file(daemon.pid_file))
                return supervise(daemon.fleet, lambda supervisor: _report(link, supervisor))
        except TaskServerError as error:
            with suppress(OSError):
                link.sendall(pack(Refused(kind=type(error).__name__, sentence=str(error))))
            return EXIT_BROKEN


async def _report(link: socket.socket, supervisor: Supervisor) -> None:
    """Say that it is ready; if the starter is gone before, nobody knows of this process, and it stops."""
    link.setblocking(False)
    gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(link, 1))
    ready = asyncio.create_task(supervisor.ready.wait())
    try:
        await asyncio.wait((gone, ready), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            link.sendall(pack(Ready(name=supervisor.name, pid=os.getpid())))
        else:
            supervisor.stop()
    except OSError:
        supervisor.stop()
    finally:
        await end(gone, ready)


if __name__ == "__main__":
    sys.exit(main())
