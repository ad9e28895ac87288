"""Reading which workers are alive, and what each of them is doing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import msgspec

from taskserver.domain.fleet import WorkerSnapshot
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import GROUP, Keys
from taskserver.store.queries import queues
from taskserver.store.replies import none_if_missing

BATCH = 500


class RunningInfo(msgspec.Struct, frozen=True, kw_only=True):
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


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A live worker, as of its last heartbeat. Times are seconds since 1970 by the broker's clock.

    Attributes:
        name: Who it is to the broker.
        host: Name of its machine.
        pid: Its process.
        version: Version of taskserver that it runs.
        python: Version of its interpreter.
        task_server: The task server that it belongs to.
        supervisor: Its supervisor; None if it has none.
        replica: Its number there; None without a supervisor.
        state: ``running``, or ``stopping`` if it takes no more jobs.
        queues: Queues that it works on.
        tools: Its tools.
        slots: Jobs that it can run at once.
        busy: How many it runs.
        running: The oldest of them.
        started_at: When it started.
        heartbeat_at: Its last heartbeat.
        heartbeat_age: Seconds since then.
        memory: Bytes that it holds.
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
        """Whether ``name`` means this worker, among others: it is its own, its supervisor's or its task server's."""
        return name in (self.name, self.supervisor, self.task_server)

    @property
    def command_target(self) -> str:
        """Whom to tell what concerns it and all that stand and fall with it."""
        return self.supervisor or self.name


async def list_workers(broker: Broker, only: Iterable[str] | None = None) -> list[WorkerInfo]:
    """Every live worker once, by task server, host and number.

    Args:
        broker: Where.
        only: Queues to look at; all unless said otherwise.
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
            about = _about(raw)
            if about is not None and left_ms >= 0:
                yield _info(about, left_ms, now)


async def _names(client: Any, keys: Keys) -> list[bytes]:
    async with client.pipeline(transaction=False) as pipe:
        for lane in (RETURNED, *LANES):
            pipe.xinfo_consumers(keys.lane(lane), GROUP)
        answers = none_if_missing(await pipe.execute(raise_on_error=False))
    return queues.worker_keys(keys, answers)


async def _read(client: Any, names: list[bytes]) -> list[tuple[Any, int, float]]:
    async with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.getrange(name, 0, -1)  # which every role may do, other than GET
            pipe.pttl(name)
        pipe.time()
        *answers, (seconds, micros) = await pipe.execute(raise_on_error=False)
    now = seconds + micros / 1e6
    return [(raw, left, now) for raw, left in zip(answers[::2], answers[1::2], strict=True)]


def _about(raw: Any) -> WorkerSnapshot | None:
    """What a worker has said; None if it is gone, or something else stands there."""
    try:
        return msgspec.msgpack.decode(raw, type=WorkerSnapshot) if isinstance(raw, bytes) else None
    except msgspec.MsgspecError:
        return None


def _info(about: WorkerSnapshot, left_ms: int, now: float) -> WorkerInfo:
    silent = max(0, about.valid_ms - left_ms) / 1000
    at = now - silent
    return WorkerInfo(
        name=about.name,
        host=about.host,
        pid=about.pid,
        version=about.version,
        python=about.python,
        task_server=about.task_server,
        supervisor=about.supervisor or None,
        replica=about.replica or None,
        state="stopping" if about.stopping else "running",
        queues=about.queues,
        tools=about.tools,
        slots=about.concurrency,
        busy=about.busy,
        running=[
            RunningInfo(
                id=job.id, tool=job.tool, attempt=job.attempt, started_at=at - job.seconds, age=job.seconds + silent
            )
            for job in about.running
        ],
        started_at=at - about.uptime,
        heartbeat_at=at,
        heartbeat_age=silent,
        memory=about.rss,
        metrics_port=about.metrics_port,
    )
