"""A replica: the process that a supervisor starts, ``python -m taskserver.fleet.replica``.

Its standard input is the link to the supervisor (``link.py``). If that breaks, the supervisor is dead: the replica
drains and exits, since nobody would replace it or stop it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress

from taskserver.domain.fleet import FleetCommand
from taskserver.errors import TaskServerError
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet.link import (
    Begin,
    FromReplica,
    Heard,
    Ready,
    Refused,
    Reopen,
    Stopping,
    StopReplica,
    pack,
    read,
    receive,
    take_standard_input,
)
from taskserver.fleet.output import redirect_output
from taskserver.fleet.runtime import prepare, run_worker
from taskserver.fleet.sources import files_of, loaded_files
from taskserver.worker.identity import WorkerIdentity
from taskserver.worker.process_exit import EXIT_BROKEN
from taskserver.worker.worker import Worker


class Replica:
    """This process, as its supervisor sees it.

    Args:
        link: The link to the supervisor.
        begin: The supervisor's first message.
    """

    def __init__(self, link: socket.socket, begin: Begin) -> None:
        self._link = link
        self._begin = begin

    def run(self) -> int:
        """Work until asked to stop; return the exit code."""
        begin = self._begin
        try:
            toolbox = prepare(begin.assignment)
            identity = WorkerIdentity(begin.assignment.task_server, begin.supervisor, begin.number, self._pass_on)
            return run_loop(
                run_worker(begin.assignment, toolbox, identity, [self._report, self._listen]), begin.assignment.loop
            )
        except TaskServerError as error:
            self._send(Refused.of(error, files_of(error) if begin.watched else None))
            return EXIT_BROKEN

    async def _report(self, worker: Worker) -> None:
        """Tell the supervisor when the worker is ready, and when it stops."""
        await worker.ready.wait()
        files = loaded_files() if self._begin.watched else {}
        self._send(Ready(name=worker.name, pid=os.getpid(), metrics_port=worker.metrics_port, files=files))
        await worker.until_stopping()
        self._send(Stopping())

    async def _listen(self, worker: Worker) -> None:
        """Do what the supervisor says."""
        reader, writer = await asyncio.open_unix_connection(sock=self._link.dup())
        try:
            while (message := await read(reader, StopReplica | Reopen)) is not None:
                if isinstance(message, Reopen):
                    redirect_output(message.log_file)
                elif message.hurry:
                    worker.hurry()
                else:
                    worker.drain()
            worker.drain()  # the supervisor is dead
            await asyncio.Event().wait()
        finally:
            writer.close()

    def _pass_on(self, command: FleetCommand) -> None:
        self._send(Heard(command))

    def _send(self, message: FromReplica) -> None:
        """Send a few bytes; there is room unless the supervisor has stopped reading, and then nobody listens."""
        with suppress(OSError):
            self._link.sendall(pack(message))


def main() -> int:
    """Become the replica that the supervisor describes; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with take_standard_input() as link:
        begin = receive(link, Begin)
        return 0 if begin is None else Replica(link, begin).run()


if __name__ == "__main__":
    sys.exit(main())
