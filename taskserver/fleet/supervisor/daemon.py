"""A daemon: a supervisor in the background (``background.py``), ``python -m taskserver.fleet.supervisor.daemon``."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack

import msgspec

from taskserver.fleet import background
from taskserver.fleet.link import Ready
from taskserver.fleet.supervisor.pidfile import pid_file
from taskserver.fleet.supervisor.process import Fleet, supervise


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
    fleet = daemon.fleet
    return background.launch("taskserver.fleet.supervisor.daemon", fleet.assignment.task_server, daemon, fleet.log_file)


def _run(daemon: Daemon, link: socket.socket) -> int:
    with ExitStack() as stack:
        if daemon.pid_file:
            stack.enter_context(pid_file(daemon.pid_file))
        return supervise(
            daemon.fleet,
            lambda supervisor: background.report(link, supervisor.name, supervisor.ready.wait, supervisor.stop),
        )


if __name__ == "__main__":
    sys.exit(background.become(Daemon, _run))
