"""Who a worker is, and parts of the ``WorkerSnapshot`` that it sends with every heartbeat; see ``domain/fleet.py``."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from taskserver.domain.fleet import RUNNING_LISTED, FleetCommand, RunningJob
from taskserver.worker.attempt import Attempt

HOST = socket.gethostname()
PYTHON = sys.version.split()[0]

_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerIdentity(NamedTuple):
    """What a worker is part of.

    Attributes:
        task_server: Name of its task server.
        supervisor: Name of its supervisor; empty if it has none.
        replica: Its number there, from 1.
        pass_on: Takes the commands that it receives; None if it is to carry them out itself.
        owns_process: Whether its process is there for it alone, and ends with it if it cannot continue.
    """

    task_server: str = "worker"
    supervisor: str = ""
    replica: int = 0
    pass_on: Callable[[FleetCommand], None] | None = None
    owns_process: bool = False


def oldest(running: Iterable[Attempt]) -> list[RunningJob]:
    """The oldest of the running attempts, as a worker reports them. Called from the heartbeat's thread."""
    now = time.monotonic()
    first = sorted(running, key=lambda attempt: attempt.started)[:RUNNING_LISTED]
    return [RunningJob(each.id, each.label, each.job.attempt, round(now - each.started, 3)) for each in first]


def resident_bytes() -> int:
    """Bytes of memory that this process holds; where the system does not say, the most that it ever held."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
