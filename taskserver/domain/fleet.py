"""What workers report with every heartbeat, and the commands that people give them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from taskserver.errors import ConfigError

MAX_REPLICAS = 1000
"""Replicas of one supervisor."""
RUNNING_LISTED = 20
"""Running jobs that a worker lists in its snapshot, oldest first: heartbeats must stay small."""


class RunningJob(msgspec.Struct, frozen=True, array_like=True):
    """A job that a worker is running: its id, tool and attempt, and for how many seconds it has run."""

    id: str
    tool: str
    attempt: int
    seconds: float


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker reports about itself. Fields that earlier versions do not send have defaults.

    Attributes:
        name: Its name at the broker.
        host: Host name of its machine.
        pid: Its process id.
        python: Its Python version.
        version: Its version of this package.
        task_server: The task server that it belongs to.
        supervisor: Name of its supervisor; empty if it has none.
        replica: Its replica number, from 1; 0 without a supervisor.
        uptime: Seconds since it started. A duration, not a time: the clocks of two machines differ.
        valid_ms: Milliseconds for which the snapshot is valid.
        rss: Resident memory in bytes.
        metrics_port: Port on which its metrics are served; None if they are not.
        concurrency: Number of slots.
        busy: Number of slots in use.
        queues: Queues that it consumes.
        tools: Names of its tools.
        running: Its oldest running jobs.
        stopping: Whether it takes no more jobs.
    """

    name: str
    host: str
    pid: int
    python: str
    concurrency: int
    busy: int
    queues: list[str]
    tools: list[str]
    version: str = ""
    task_server: str = ""
    supervisor: str = ""
    replica: int = 0
    uptime: float = 0.0
    valid_ms: int = 0
    rss: int = 0
    metrics_port: int | None = None
    running: list[RunningJob] = []
    stopping: bool = False


class Action(StrEnum):
    """What a person can make workers do."""

    STOP = "stop"
    """Take no more jobs, give running ones the grace period to end, and exit."""
    HURRY = "hurry"
    """Stop without the grace period."""
    RESTART = "restart"
    """Be replaced by a new process, once that is ready."""
    SCALE = "scale"
    """Change the number of replicas."""


class FleetCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command to a worker or a supervisor.

    Attributes:
        id: Identifies the command; it is carried out once, however often it is received.
        action: What to do.
        whom: Name of the worker or supervisor.
        replicas: The new number of replicas, for ``SCALE``.
    """

    id: str
    action: Action
    whom: str
    replicas: int = 0


def check_replicas(replicas: int) -> int:
    """Return ``replicas`` if a supervisor can keep so many.

    Raises:
        ConfigError: if not.
    """
    if not 1 <= replicas <= MAX_REPLICAS:
        raise ConfigError(f"replicas must be between 1 and {MAX_REPLICAS}, not {replicas}")
    return replicas
