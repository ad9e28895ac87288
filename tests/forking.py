"""Commands without the start of an interpreter: a process that has imported the package forks one for each.

A forked command is a process of its own, with its own folder, environment, streams, signals and exit code, and it ends
as any Python program does. What it spares is a second of processor time for imports, some hundreds of times.
Run as a program, this file is the process that forks.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

LIMIT = 1 << 20
"""Bytes of an order: arguments and environment of a command."""


class Forked:
    """A command that was forked, with what is needed of ``subprocess.Popen``.

    Args:
        args: Its arguments.
        cwd: Its folder.
        env: Its environment.
        streams: File descriptors of its standard input, output and error. They stay open here.
        new_session: Whether it leads a session and a process group of its own.
    """

    def __init__(
        self,
        args: tuple[str, ...],
        cwd: Path,
        env: Mapping[str, str],
        streams: tuple[int, int, int],
        *,
        new_session: bool,
    ) -> None:
        self.args = args
        self.returncode: int | None = None
        order = {"args": args, "cwd": str(cwd), "env": dict(env), "new_session": new_session}
        # Packets: the number of a command that has ended already must not run into its exit code.
        self._fate, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(_forker(), [json.dumps(order).encode()], [*streams, theirs.fileno()])
        self.pid = int(self._fate.recv(64))

    def poll(self) -> int | None:
        """Its exit code, or the negative number of a signal, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not within that time.
        """
        if self.returncode is None:
            if not select.select([self._fate], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(int(self._fate.recv(64)))
            self._fate.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


@cache
def _forker() -> socket.socket:
    """The way to the process that forks, which is started for the first command."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for side in (ours, theirs):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LIMIT)
    with theirs:
        process = subprocess.Popen([sys.executable, "-P", __file__], stdin=theirs, start_new_session=True)

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


class Order(NamedTuple):
    """A command to be run, and what it was given."""

    args: list[str]
    cwd: str
    env: dict[str, str]
    new_session: bool
    streams: list[int]


def serve(link: socket.socket) -> Order | None:
    """Fork for each order that comes, until the other side is gone; a forked process returns with its order."""
    woken, wakes = socket.socketpair()
    for side in (woken, wakes):
        side.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    fates: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([link, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_who_ended(fates)
        if link in ready:
            message, received, _, _ = socket.recv_fds(link, LIMIT, 4)
            if not message:  # the tests have ended, or were killed
                for pid in fates:
                    os.kill(pid, signal.SIGKILL)
                return None
            *streams, fate = received
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for side in (link, woken, wakes, *fates.values()):
                    side.close()
                os.close(fate)
                return Order(**json.loads(message), streams=streams)
            for descriptor in streams:
                os.close(descriptor)
            fates[pid] = socket.socket(fileno=fate)
            _send(fates[pid], pid)


def _tell_who_ended(fates: dict[int, socket.socket]) -> None:
    for pid in list(fates):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with fates.pop(pid) as fate:
                _send(fate, status)


def _send(fate: socket.socket, number: int) -> None:
    with suppress(OSError):  # the test has ended, and does not listen any more
        fate.send(str(number).encode())


def become(order: Order) -> None:
    """Be the process of that command: its folder, environment, streams and search path."""
    if order.new_session:
        os.setsid()
    os.chdir(order.cwd)
    for number, descriptor in enumerate(order.streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order.env)
    sys.argv = [str(Path(taskserver.__file__).with_name("__main__.py")), *order.args]
    sys.path[:0] = [order.cwd, *order.env.get("PYTHONPATH", "").split(os.pathsep)]
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = _output(1, "strict")
    sys.stderr = sys.__stderr__ = _output(2, "backslashreplace")


def _output(descriptor: int, errors: str) -> io.TextIOWrapper:
    """Standard output or error as the interpreter makes it."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    binary = os.fdopen(descriptor, "wb", 0 if unbuffered else -1, closefd=False)
    lines = descriptor == 2 or os.isatty(descriptor)
    return io.TextIOWrapper(binary, errors=errors, line_buffering=lines, write_through=unbuffered)


if __name__ == "__main__":
    import taskserver
    from taskserver.cli.main import main

    for module in pkgutil.walk_packages(taskserver.__path__, "taskserver."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.freeze()
    if order := serve(socket.socket(fileno=os.dup(0))):
        become(order)
        main()
