"""Keeping a file up in the background: ``python -m taskserver.worker.machine.detached``.

Whoever starts it waits at its standard input, a socket, until all is ready or it has said what is wrong.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from taskserver.config.file import load
from taskserver.config.settings import settings
from taskserver.errors import ConfigError, TaskServerError
from taskserver.observability.logging import configure
from taskserver.store.ending import end
from taskserver.worker.link import Ready, Refused, pack, receive
from taskserver.worker.machine.bringing import Machine, Tell
from taskserver.worker.machine.place import Place
from taskserver.worker.planning import Plan, plans
from taskserver.worker.quitting import EXIT_BROKEN
from taskserver.worker.replica import take_standard_input
from taskserver.worker.supervisor.child import interpreter
from taskserver.worker.working import be_mortal, run_loop


class Detach(msgspec.Struct, frozen=True):
    """To a new process in the background: the file to keep up, and tools for task servers that name none."""

    file: str
    modules: tuple[str, ...] = ()


def keep_up(file: str, modules: tuple[str, ...], tell: Tell, link: socket.socket | None = None) -> None:
    """Keep a file up in this very process, until a signal ends it; then the process shall end too.

    Args:
        file: The configuration file.
        modules: Tools for task servers that name none.
        tell: Called with each step, in a sentence.
        link: To whoever waits until it is ready.

    Raises:
        TaskServerError: if the file, or something in it, cannot be brought up.
    """
    wanted = plans(load(file), modules)
    place = Place.of(file)
    with place.held(file):
        be_mortal()
        configure(settings().loglevel)
        run_loop(_run(file, wanted, place, tell, link))


async def _run(file: str, wanted: list[Plan], place: Place, tell: Tell, link: socket.socket | None) -> int:
    machine = Machine(file, wanted, place, tell)
    reporting = asyncio.create_task(_report(link, machine)) if link else None
    try:
        await machine.run()
    finally:
        if reporting:
            await end(reporting)
    return 0


def launch(file: str, modules: tuple[str, ...]) -> Path:
    """Keep a file up in the background; return its log once everything is ready.

    Raises:
        TaskServerError: if it cannot start; nothing of it is left then.
    """
    log = Place.of(file).create().log
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, log.open("ab", buffering=0) as output:
            command = [*interpreter(), "-m", "taskserver.worker.machine.detached", file]
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                command, stdin=theirs.fileno(), stdout=output, stderr=output, start_new_session=True
            )
        with suppress(OSError):
            ours.sendall(pack(Detach(file, modules)))
        answer = receive(ours, Ready | Refused)
    if isinstance(answer, Ready):
        process.returncode = 0  # it is not waited for: it outlives this process
        return log
    process.wait()
    if isinstance(answer, Refused):
        raise answer.error()
    raise TaskServerError(f"it has ended before it was ready; see {log}")


async def _report(link: socket.socket, machine: Machine) -> None:
    """Say that all is ready; if nobody waits for that any more, end."""
    link.setblocking(False)
    gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(link, 1))
    ready = asyncio.create_task(machine.ready.wait())
    try:
        await asyncio.wait((gone, ready), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            link.sendall(pack(Ready(name="", pid=os.getpid())))
        else:
            machine.stop()
    except OSError:
        machine.stop()
    finally:
        await end(gone, ready)


def main() -> int:
    """Become the process in the background; the exit code."""
    with take_standard_input() as link:
        wanted = receive(link, Detach)
        if wanted is None:
            return EXIT_BROKEN
        try:
            keep_up(wanted.file, wanted.modules, _log, link)
        except TaskServerError as error:
            kind = ConfigError if isinstance(error, ConfigError) else type(error)
            with suppress(OSError):
                link.sendall(pack(Refused(kind=kind.__name__, sentence=str(error))))
            return EXIT_BROKEN
    return 0


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
