"""A replica: the process that a supervisor starts, ``python -m taskserver.fleet.replica``.

Its standard input is its link to the supervisor (see ``link.py``). When that breaks, the supervisor is dead: the
replica drains and ends, for nobody would replace it, or stop it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from taskserver.domain.fleet import FleetCommand
from taskserver.errors import TaskServerError
from taskserver.fleet.link import Begin, Heard, Ready, Refused, Reopen, Stop, Stopping, Up, pack, read, receive
from taskserver.fleet.runtime import prepare, run_loop, work
from taskserver.fleet.sources import files_of, loaded_files
from taskserver.worker.identity import WorkerIdentity
from taskserver.worker.process_exit import EXIT_BROKEN
from taskserver.worker.worker import Worker


class Replica:
    """This process, as its supervisor sees it.

    Args:
        link: To the supervisor.
        begin: What it said first.
    """

    def __init__(self, link: socket.socket, begin: Begin) -> None:
        self._link = link
        self._begin = begin

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        begin = self._begin
        try:
            toolbox = prepare(begin.assignment)
            post = WorkerIdentity(begin.assignment.task_server, begin.supervisor, begin.number, self._pass_on)
            return run_loop(work(begin.assignment, toolbox, post, [self._tell, self._listen]))
        except TaskServerError as error:
            files = files_of(error) if begin.watched else {}
            self._say(Refused(kind=type(error).__name__, sentence=str(error), files=files))
            return EXIT_BROKEN

    async def _tell(self, worker: Worker) -> None:
        await worker.ready.wait()
        files = loaded_files() if self._begin.watched else {}
        self._say(Ready(name=worker.name, pid=os.getpid(), metrics_port=worker.metrics_port, files=files))
        await worker.until_stopping()
        self._say(Stopping())

    async def _listen(self, worker: Worker) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=self._link.dup())
        try:
            while (message := await read(reader, Stop | Reopen)) is not None:
                if isinstance(message, Reopen):
                    reopen(message.log_file)
                elif message.hurry:
                    worker.hurry()
                else:
                    worker.drain()
            worker.drain()  # the supervisor is dead
            await asyncio.Event().wait()
        finally:
            writer.close()

    def _pass_on(self, order: FleetCommand) -> None:
        self._say(Heard(order))

    def _say(self, message: Up) -> None:
        """A few bytes; there is room for them unless the supervisor has stopped reading, and then nobody listens."""
        with suppress(OSError):
            self._link.sendall(pack(message))


def reopen(log_file: str) -> None:
    """Let everything that this process and its children print go to the file of that name, made anew if need be."""
    with open(Path(log_file), "ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def take_standard_input() -> socket.socket:
    """The socket that is this process's standard input; tools that read from there find it empty instead."""
    link = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    return link


def main() -> int:
    """Become the replica that the supervisor tells of; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with take_standard_input() as link:
        begin = receive(link, Begin)
        return 0 if begin is None else Replica(link, begin).run()


if __name__ == "__main__":
    sys.exit(main())
