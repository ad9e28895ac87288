"""What workers say of themselves with every heartbeat, and the orders that people give to them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from taskserver.errors import ConfigError

MAX_REPLICAS = 1000
"""Replicas of one supervisor."""
RUNNING_LISTED = 20
"""Running jobs that a worker tells of, the oldest first: heartbeats must stay small."""


class RunningJob(msgspec.Struct, frozen=True, array_like=True):
    """A job that a worker runs: its id, tool, attempt, and for how many seconds."""

    id: str
    tool: str
    attempt: int
    seconds: float


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself. What earlier versions did not say has a default.

    Attributes:
        name: Who it is to the broker.
        host: Name of its machine.
        pid: Its process.
        python: Version of its interpreter.
        version: Version of this package.
        task_server: The task server that it belongs to.
        supervisor: Name of its supervisor; empty if it has none.
        replica: Its number there, from 1; 0 without a supervisor.
        uptime: Seconds since it was built. Spans, not times: the clocks of two machines differ.
        valid_ms: For how many milliseconds this holds.
        rss: Bytes of memory that it holds.
        metrics_port: Where its metrics are served; None for nowhere.
        concurrency: Slots.
        busy: Slots that are taken.
        queues: Queues that it works on.
        tools: Names of its tools.
        running: The oldest of its running jobs.
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
    """What workers can be told to do."""

    STOP = "stop"
    """Take no more jobs, let the running ones go on for the grace period, and end."""
    HURRY = "hurry"
    """The same, without the grace period."""
    RESTART = "restart"
    """Be replaced by a new process, which is ready first."""
    SCALE = "scale"
    """Be so many replicas."""


class FleetCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants a worker or a supervisor to do.

    Attributes:
        id: The same order has the same id, however often and by whom it is heard.
        action: What to do.
        whom: Name of a worker, or of a supervisor.
        replicas: How many there shall be, for ``SCALE``.
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
        raise ConfigError(f"replicas must be 1 to {MAX_REPLICAS}, not {replicas}")
    return replicas
