"""Auditing a queue: checking every key it has, and repairing them if asked to.

The janitor audits forever, the doctor when asked. An audit is done in small steps, so that the caller decides about
pauses and shows its progress: a script call blocks the whole server. A quick audit only looks for what keeps jobs from
running; a thorough one costs three times as much.

A job's hash is the truth. Everything else about a job can be restored from it, and what belongs to no hash is removed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import GROUP, RECLAIMER, Keys
from taskserver.store.maintenance.damage import Damage, DamageFinding
from taskserver.store.replies import decode, decode_pairs, none_if_missing

PAGE = 250
"""Keys, members or entries checked in one step: some milliseconds of the server's time."""
SCANNED = 5_000
"""Keys that one SCAN goes over, most of which may belong to other queues: about a millisecond of the server's time."""

_LANES = (RETURNED, *LANES)
_SETS = ("delayed", "expiring", "dead")
_STRUCTURES = frozenset(name.encode() for name in (*(f"lane:{lane}" for lane in _LANES), *_SETS, "meta"))
_RECORDS = (b"job:", b"msg:", b"out:", b"events:", b"history:")


class AuditStep(NamedTuple):
    """One step of an audit.

    Attributes:
        seen: How many keys, members or entries were checked.
        found: The damage.
        records: How many of the keys belong to jobs.
        workers: Live workers whose keys were among them.
    """

    seen: int
    found: list[DamageFinding]
    records: int = 0
    workers: tuple[str, ...] = ()


class NamePage(NamedTuple):
    """Names of a queue's keys without its prefix, and how many keys of the server were gone over for them."""

    seen: int
    names: list[bytes]


async def estimate_size(broker: Broker, queue: str) -> int:
    """About how much an audit has to check. SCAN goes over all keys of the server, including those of others."""
    keys = broker.keys(queue)

    async def count(client: Any) -> int:
        async with client.pipeline(transaction=False) as pipe:
            pipe.dbsize()
            for name in (keys.delayed, keys.expiring, keys.dead):
                pipe.zcard(name)
            for lane in _LANES:
                pipe.xlen(keys.lane(lane))
            return sum(number or 0 for number in none_if_missing(await pipe.execute(raise_on_error=False)))

    return await broker.ask(keys.prefix, count)


async def audit_queue(
    broker: Broker, queue: str, *, repair: bool, thorough: bool = True
) -> AsyncGenerator[AuditStep, None]:
    """Audit a queue, step by step.

    What workers that are gone still hold is reported, but never taken back here: that takes knowing the lease.

    Args:
        broker: Where.
        queue: Which queue.
        repair: Repair the damage. Otherwise nothing is changed, and jobs are not checked if one of the queue's
            structures is of the wrong type.
        thorough: Check everything.
    """
    structures = await _check_structures(broker, queue, repair)
    yield structures
    readable = repair or not any(found.damage is Damage.TYPE for found in structures.found)
    async for seen, names in _names(broker, queue, b"" if thorough else b"job:"):
        jobs = [name[4:] for name in names if name.startswith(b"job:")] if readable else []
        found = await _check_jobs(broker, queue, jobs, repair)
        if thorough:
            found += await _check_keys(broker, queue, [name for name in names if name not in _STRUCTURES], repair)
        records = sum(name.startswith(_RECORDS) for name in names)
        workers = tuple(decode(name[7:]) for name in names if name.startswith(b"worker:"))
        yield AuditStep(seen, found, records, workers)
    if not readable:
        return
    if thorough:
        for name in _SETS:
            async for step in _check_set(broker, queue, name, repair):
                yield step
        for lane in _LANES:
            async for step in _check_lane(broker, queue, lane, repair):
                yield step
    yield await _check_consumers(broker, queue, repair)


async def _check_structures(broker: Broker, queue: str, repair: bool) -> AuditStep:
    found = await _check_keys(broker, queue, sorted(_STRUCTURES), repair)
    missing = await _without_group(broker, broker.keys(queue))
    if missing and repair:
        await broker.prepare(queue, again=True)
    return AuditStep(0, found + [DamageFinding(Damage.GROUP, lane) for lane in missing])


async def _without_group(broker: Broker, keys: Keys) -> list[str]:
    async def read(client: Any) -> list[str]:
        async with client.pipeline(transaction=False) as pipe:
            for lane in _LANES:
                pipe.xinfo_groups(keys.lane(lane))
            answers = none_if_missing(await pipe.execute(raise_on_error=False))
        return [lane for lane, groups in zip(_LANES, answers, strict=True) if not _has_group(groups)]

    return await broker.ask(keys.prefix, read)


def _has_group(groups: Any) -> bool:
    return any(group["name"] == GROUP.encode() for group in groups or ())


async def _names(broker: Broker, queue: str, kind: bytes) -> AsyncGenerator[NamePage, None]:
    """The names of a queue's keys, page by page; SCAN's promises: none that stays is missed."""
    prefix = broker.keys(queue).prefix.encode()
    scan = partial(_scan, match=prefix + kind + b"*", count=SCANNED)
    cursor, begun = 0, False
    while cursor or not begun:
        cursor, found = await broker.ask(prefix.decode(), partial(scan, cursor=cursor))
        begun = True
        pages = list(_pages([name[len(prefix) :] for name in found])) or [[]]
        for page in pages:
            yield NamePage(SCANNED // len(pages), page)


async def _check_jobs(broker: Broker, queue: str, jobs: Sequence[bytes], repair: bool) -> list[DamageFinding]:
    stranded = await broker.run("repair_jobs" if repair else "find_stranded", queue, *jobs) if jobs else []
    return [DamageFinding(Damage.STRANDED, decode(key)) for key in stranded]


async def _check_keys(broker: Broker, queue: str, names: Sequence[bytes], repair: bool) -> list[DamageFinding]:
    answer = await broker.run("check_keys", queue, _mode(repair), *names) if names else []
    return [DamageFinding(Damage(kind), name) for name, kind in decode_pairs(answer)]


async def _check_set(broker: Broker, queue: str, set_: str, repair: bool) -> AsyncGenerator[AuditStep, None]:
    name = broker.keys(queue).prefix + set_
    cursor, begun = 0, False
    while cursor or not begun:
        cursor, members = await broker.ask(name, partial(_zscan, name=name, cursor=cursor))
        begun = True
        for page in _pages([key for key, _ in members]):
            gone = await broker.run("prune", queue, _mode(repair), set_, *page)
            yield AuditStep(len(page), [DamageFinding(Damage.MEMBER, f"{set_}: {decode(key)}") for key in gone])


async def _check_lane(broker: Broker, queue: str, lane: str, repair: bool) -> AsyncGenerator[AuditStep, None]:
    seen, last = PAGE, b"0-0"
    while seen == PAGE:
        seen, last, gone = await broker.run("check_entries", queue, _mode(repair), lane, last, PAGE)
        if seen:
            yield AuditStep(seen, [DamageFinding(Damage.ENTRY, f"{lane}: {decode(id_)}") for id_ in gone])


async def _check_consumers(broker: Broker, queue: str, repair: bool) -> AuditStep:
    keys = broker.keys(queue)
    pending = await broker.ask(keys.prefix, lambda client: _pending_of_the_gone(client, keys))
    found = [
        DamageFinding(Damage.HELD if held else Damage.CONSUMER, worker, held or 1) for worker, held in pending.items()
    ]
    if repair and found:
        await remove_gone_workers(broker, queue)
    return AuditStep(0, found)


async def _pending_of_the_gone(client: Any, keys: Keys) -> dict[str, int]:
    """Consumers whose worker is gone, and how many entries are pending for each."""
    async with client.pipeline(transaction=False) as pipe:
        for lane in _LANES:
            pipe.xinfo_consumers(keys.lane(lane), GROUP)
        answers = none_if_missing(await pipe.execute(raise_on_error=False))
    pending: dict[str, int] = {}
    for consumers in answers:
        for consumer in consumers or ():
            worker = decode(consumer["name"])
            pending[worker] = pending.get(worker, 0) + consumer["pending"]
    gone = [worker for worker in pending if worker != RECLAIMER and not await client.exists(keys.worker(worker))]
    return {worker: pending[worker] for worker in gone}


async def _scan(client: Any, cursor: int, match: bytes, count: int) -> tuple[int, list[bytes]]:
    answer: tuple[int, list[bytes]] = await client.scan(cursor, match=match, count=count)
    return answer


async def _zscan(client: Any, name: str, cursor: int) -> tuple[int, list[tuple[bytes, float]]]:
    answer: tuple[int, list[tuple[bytes, float]]] = await client.zscan(name, cursor, count=PAGE)
    return answer


def _pages(keys: list[bytes]) -> Iterable[list[bytes]]:
    """ZSCAN returns a small set whole, whatever the count."""
    return (keys[start : start + PAGE] for start in range(0, len(keys), PAGE))


def _mode(repair: bool) -> str:
    return "repair" if repair else "look"


class Turn(IntEnum):
    """Whose turn it is to audit a queue. ``take_turn.lua`` answers with these values."""

    OTHERS = 0
    """Another worker is the janitor."""
    OURS = 1
    """This worker is."""
    URGENT = 2
    """This worker is, and groups were created anew: the queue is to be audited fast."""


async def take_turn(broker: Broker, queue: str, worker: str, hold_ms: int) -> Turn:
    """Become the queue's janitor for ``hold_ms``, unless another worker is."""
    return Turn(await broker.run("take_turn", queue, worker, hold_ms, "begin"))


async def keep_turn(broker: Broker, queue: str, worker: str, hold_ms: int) -> bool:
    """Remain the queue's janitor for ``hold_ms``; False if another worker has taken over."""
    return bool(await broker.run("take_turn", queue, worker, hold_ms, "continue"))


async def remove_gone_workers(broker: Broker, queue: str) -> list[str]:
    """Remove the consumers of workers that are gone from the groups; returns those workers."""
    return [decode(name) for name in await broker.run("remove_worker", queue)]
