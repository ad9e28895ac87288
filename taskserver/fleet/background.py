"""Processes in the background: started by a command that waits until they are ready, and outlive it.

Each is a fresh interpreter in a session of its own, not a fork of whatever the starter was. Its standard input is a
socket (``link.py``): down goes what it shall do, up comes that it is ready, or what is wrong.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec

from taskserver.aio import cancel_and_wait
from taskserver.errors import ConfigError, TaskServerError
from taskserver.fleet.interpreter import interpreter
from taskserver.fleet.link import Ready, Refused, pack, receive
from taskserver.fleet.replica import take_standard_input
from taskserver.worker.process_exit import EXIT_BROKEN

T = TypeVar("T", bound=msgspec.Struct)


def launch(module: str, label: str, wanted: msgspec.Struct, log_file: str) -> Ready:
    """Start a process in the background, and return once it is ready.

    Args:
        module: What it runs; it calls ``become``.
        label: The last word of its command, for people who look at the list of processes.
        wanted: What it shall do.
        log_file: Where everything that it prints goes.

    Raises:
        ConfigError: if the log file cannot be written.
        TaskServerError: if it cannot start; nothing of it is left then.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, _log(log_file) as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*interpreter(), "-m", module, label],
                stdin=theirs.fileno(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        with suppress(OSError):
            ours.sendall(pack(wanted))
        answer = receive(ours, Ready | Refused)
    if isinstance(answer, Ready):
        process.returncode = 0  # it is not waited for: it outlives this process
        return answer
    process.wait()
    if isinstance(answer, Refused):
        raise answer.error()
    raise TaskServerError(f"it has ended before it was ready; see {log_file}")


def become(kind: type[T], run: Callable[[T, socket.socket], int]) -> int:
    """Be such a process; the exit code.

    Args:
        kind: What whoever has started it sends.
        run: Does it. It gets the socket to whoever waits, for ``report``; what it refuses with is told there.
    """
    with take_standard_input() as link:
        wanted = receive(link, kind)
        if wanted is None:
            return EXIT_BROKEN
        try:
            return run(wanted, link)
        except TaskServerError as error:
            # All that a ConfigError needs is the sentence, whichever it is.
            name = ConfigError.__name__ if isinstance(error, ConfigError) else type(error).__name__
            with suppress(OSError):
                link.sendall(pack(Refused(kind=name, sentence=str(error))))
            return EXIT_BROKEN


async def report(link: socket.socket, name: str, ready: Callable[[], Awaitable[Any]], stop: Callable[[], None]) -> None:
    """Say that it is ready; if nobody waits for that any more, nobody knows of this process, and it stops.

    Args:
        link: To whoever waits.
        name: What it is called.
        ready: Returns once it is.
        stop: Stops it.
    """
    link.setblocking(False)
    gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(link, 1))
    waiting = asyncio.ensure_future(ready())
    try:
        await asyncio.wait((gone, waiting), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            link.sendall(pack(Ready(name=name, pid=os.getpid())))
        else:
            stop()
    except OSError:
        stop()
    finally:
        await cancel_and_wait(gone, waiting)


def _log(path: str) -> BinaryIO:
    try:
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise ConfigError(f"the log file {path} cannot be written: {error.strerror}") from None
