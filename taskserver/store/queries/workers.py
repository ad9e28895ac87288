"""Reading which workers are alive, and what each of them is doing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import msgspec

from taskserver.domain.fleet import WorkerSnapshot
from taskserver.domain.for_pydantic import ForPydantic
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import GROUP, Keys
from taskserver.store.queries import queues
from taskserver.store.replies import none_if_missing

BATCH = 500


class RunningInfo(ForPydantic, frozen=True, kw_only=True):
    """A job that a worker runs.

    Attributes:
        id: The job's id.
        tool: The tool's name.
        attempt: From 1.
        started_at: When the attempt began, by the broker's clock.
        age: Seconds since then.
    """

    id: str
    tool: str
    attempt: int
    started_at: float
    age: float


class WorkerInfo(ForPydantic, frozen=True, kw_only=True):
    """A live worker, as of its last heartbeat. Times are seconds since 1970 by the broker's clock.

    Attributes:
        name: Its name on the broker.
        host: Its machine.
        pid: Its process id.
        version: Version of taskserver that it runs.
        python: Version of its interpreter.
        task_server: The task server that it belongs to.
        supervisor: Its supervisor; None if it has none.
        replica: Its number there; None without a supervisor.
        state: ``running``, or ``stopping`` if it claims no more jobs.
        queues: Queues that it consumes.
        tools: Its tools.
        slots: How many jobs it can run at once.
        busy: How many jobs it runs.
        running: The oldest of these jobs.
        started_at: When it started.
        heartbeat_at: Its last heartbeat.
        heartbeat_age: Seconds since then.
        memory: Its memory in bytes.
        metrics_port: Where its metrics are served; None for nowhere.
    """

    name: str
    host: str
    pid: int
    version: str
    python: str
    task_server: str
    supervisor: str | None
    replica: int | None
    state: str
    queues: list[str]
    tools: list[str]
    slots: int
    busy: int
    running: list[RunningInfo]
    started_at: float
    heartbeat_at: float
    heartbeat_age: float
    memory: int
    metrics_port: int | None

    def matches(self, name: str) -> bool:
        """Whether ``name`` is that of this worker, its supervisor or its task server."""
        return name in (self.name, self.supervisor, self.task_server)

    @property
    def command_target(self) -> str:
        """The name that a command for it is sent to: its supervisor's, if it has one."""
        return self.supervisor or self.name


async def list_workers(broker: Broker, only: Iterable[str] | None = None) -> list[WorkerInfo]:
    """Every live worker once, sorted by task server, host and number.

    Args:
        broker: Where.
        only: Queues to read; None for all.
    """
    latest: dict[str, WorkerInfo] = {}
    for queue in await queues.names(broker) if only is None else only:
        async for found in _of_queue(broker, broker.keys(queue)):
            other = latest.get(found.name)
            if other is None or other.heartbeat_at < found.heartbeat_at:
                latest[found.name] = found
    return sorted(latest.values(), key=lambda each: (each.task_server, each.host, each.replica or 0, each.name))


async def _of_queue(broker: Broker, keys: Keys) -> AsyncIterator[WorkerInfo]:
    names = await broker.ask(keys.prefix, lambda client: _names(client, keys))
    for start in range(0, len(names), BATCH):
        reading = partial(_read, names=names[start : start + BATCH])
        for raw, left_ms, now in await broker.ask(keys.prefix, reading):
            snapshot = _snapshot(raw)
            if snapshot is not None and left_ms >= 0:
                yield _info(snapshot, left_ms, now)


async def _names(client: Any, keys: Keys) -> list[bytes]:
    async with client.pipeline(transaction=False) as pipe:
        for lane in (RETURNED, *LANES):
            pipe.xinfo_consumers(keys.lane(lane), GROUP)
        answers = none_if_missing(await pipe.execute(raise_on_error=False))
    return queues.worker_keys(keys, answers)


async def _read(client: Any, names: list[bytes]) -> list[tuple[Any, int, float]]:
    async with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.getrange(name, 0, -1)  # every role may do this, unlike GET
            pipe.pttl(name)
        pipe.time()
        *answers, (seconds, micros) = await pipe.execute(raise_on_error=False)
    now = seconds + micros / 1e6
    return [(raw, left, now) for raw, left in zip(answers[::2], answers[1::2], strict=True)]


def _snapshot(raw: Any) -> WorkerSnapshot | None:
    """A worker's last snapshot; None if it is gone or not valid."""
    try:
        return msgspec.msgpack.decode(raw, type=WorkerSnapshot) if isinstance(raw, bytes) else None
    except msgspec.MsgspecError:
        return None


def _info(snapshot: WorkerSnapshot, left_ms: int, now: float) -> WorkerInfo:
    silent = max(0, snapshot.valid_ms - left_ms) / 1000
    at = now - silent
    return WorkerInfo(
        name=snapshot.name,
        host=snapshot.host,
        pid=snapshot.pid,
        version=snapshot.version,
        python=snapshot.python,
        task_server=snapshot.task_server,
        supervisor=snapshot.supervisor or None,
        replica=snapshot.replica or None,
        state="stopping" if snapshot.stopping else "running",
        queues=snapshot.queues,
        tools=snapshot.tools,
        slots=snapshot.concurrency,
        busy=snapshot.busy,
        running=[
            RunningInfo(
                id=job.id, tool=job.tool, attempt=job.attempt, started_at=at - job.seconds, age=job.seconds + silent
            )
            for job in snapshot.running
        ],
        started_at=at - snapshot.uptime,
        heartbeat_at=at,
        heartbeat_age=silent,
        memory=snapshot.rss,
        metrics_port=snapshot.metrics_port,
    )
