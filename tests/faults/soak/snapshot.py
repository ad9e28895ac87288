"""What the broker has of all jobs: read when the soak is over."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import redis.asyncio

from taskserver import Client, State
from taskserver.domain.events import EventKind, Report
from taskserver.domain.job import ENDED, JobStatus, Outcome
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries.outcomes import read_outcomes
from tests.clients import broker_of
from tests.faults.soak.check import Stored
from tests.faults.soak.watcher import QUEUE, stamps

PAGE = 500


async def snapshot(url: str) -> dict[str, Stored]:
    """Every job that there is, by id."""
    found: dict[str, Stored] = {}
    async with Client(url) as client, redis.asyncio.Redis.from_url(url) as raw:
        broker = await broker_of(client)
        async for keys in job_queries.scan(broker, "default"):
            for start in range(0, len(keys), PAGE):
                found.update(await _page(broker, raw, keys[start : start + PAGE]))
    return found


async def live(url: str) -> int:
    """How many jobs have not ended."""
    async with redis.asyncio.Redis.from_url(url, socket_timeout=5) as raw:
        count, cursor, prefix = 0, 0, QUEUE.job("")
        while True:
            cursor, names = await raw.scan(cursor, match=f"{prefix}*", count=PAGE)
            found = await stamps(raw, [name.decode()[len(prefix) :] for name in names])
            count += sum(stamp in set(State) - ENDED for stamp in found)
            if not cursor:
                return count


async def _page(broker: Broker, raw: Any, keys: list[str]) -> dict[str, Stored]:
    statuses = await job_queries.statuses(broker, "default", keys)
    outcomes = await read_outcomes(broker, "default", keys)
    pieces = await _pieces(
        raw, [key for key, status in zip(keys, statuses, strict=True) if status and status.tool == "talk"]
    )
    rows = zip(keys, statuses, outcomes, await stamps(raw, keys), strict=True)
    return {
        f"default-{key}": Stored(
            end=_end(status, outcome),
            stamp=stamp,
            token=status.session_id or (status.arguments or {}).get("label", key).partition("/")[0],
            history=Counter(line.event for line in status.history),
            lost=[line.at_ms / 1000 for line in status.history if line.event == "lost"],
            pieces=pieces.get(key, []),
        )
        for key, status, outcome, stamp in rows
        if status and outcome
    }


def _end(status: JobStatus, outcome: Outcome) -> str:
    """As ``producer.end_of`` writes it."""
    match status.state:
        case State.SUCCEEDED:
            return f"succeeded: {msgspec.msgpack.decode(outcome.data)['run']}"
        case State.FAILED | State.DEAD:
            failure = job_queries.failure(outcome.data)
            return f"failed: {failure.type}: {failure.message}"
        case state:
            return str(state)


async def _pieces(raw: Any, keys: list[str]) -> dict[str, list[str]]:
    """What jobs put out, without their progress."""
    async with raw.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.xrange(QUEUE.events(key))
        answers = await pipe.execute()
    pieces: dict[str, list[str]] = {}
    for key, entries in zip(keys, answers, strict=True):
        reports = [msgspec.msgpack.decode(fields[b"report"], type=Report) for _, fields in entries]
        pieces[key] = [report.text for report in reports if report.kind is EventKind.OUTPUT]
    return pieces
