"""Looking a queue over: what the doctor tells of it, and what his repair does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.partitions import queue_of
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.health import Finding
from taskserver.store.jobs.recover import reclaim
from taskserver.store.keys import Keys
from taskserver.store.maintenance import registry
from taskserver.store.maintenance.audit import audit_queue, remove_gone_workers, size
from taskserver.store.maintenance.damage import DESCRIPTIONS, Damage, DamageFinding
from taskserver.store.queries.queues import names
from taskserver.store.replies import none_if_missing

FIX = "taskserver doctor --fix"
SHOWN = 3
"""Names that are told of each trouble."""
OVERDUE_SECONDS = 5.0
ABANDONED_MS = 5_000
"""When no worker is alive, what has been pending for so long is taken back; since, one may just have started."""

Progress = Callable[[str, int, int], object]
"""Gets the queue, how much was looked at, and of how much."""


class Count(NamedTuple):
    """What a queue has at the moment, apart from its troubles."""

    paused: bool
    entries: int
    pending: int
    delayed: int
    overdue: int
    dead: int
    workers: int

    @property
    def jobs(self) -> int:
        """Jobs that want a worker."""
        return self.entries + self.delayed


class Round(NamedTuple):
    """What one round has found: by trouble how many, and some names; and how many workers are alive."""

    counts: Counter[Damage]
    names: dict[Damage, list[str]]
    workers: int


async def examine_queue(broker: Broker, queue: str, progress: Progress) -> list[Finding]:
    """Everything that is worth telling about a queue; nothing is changed."""
    found = await _round(broker, queue, progress, repair=False)
    subject = f"queue {queue}"
    troubles = [_trouble(subject, trouble, found) for trouble in Damage if found.counts[trouble]]
    count = await broker.ask(
        broker.keys(queue).prefix, lambda client: _count(client, broker.keys(queue), found.workers)
    )
    return [Finding(subject, "ok", _summary(count)), *_state(queue, count), *troubles]


async def repair_queue(broker: Broker, queue: str, progress: Progress) -> list[Finding]:
    """Repair what can be, and say what was done."""
    found = await _round(broker, queue, progress, repair=True)
    if found.counts[Damage.HELD]:
        # Where a worker is alive, its sweeper takes back what the dead ones held, and knows the lease.
        found.counts[Damage.HELD] = 0 if found.workers else await _take_back(broker, queue)
    done = [trouble for trouble in Damage if found.counts[trouble] and DESCRIPTIONS[trouble].done]
    return [
        Finding(f"queue {queue}", "repaired", f"{_told(trouble, found)}: {DESCRIPTIONS[trouble].done}")
        for trouble in done
    ]


async def examine_registry(broker: Broker) -> list[Finding]:
    """What is worth telling about the list of queues."""
    findings = []
    if await registry.is_broken(broker):
        findings.append(Finding("queues", "error", "their list is of the wrong type", f"{FIX}: it is made anew"))
    if missing := await registry.unlisted(broker):
        text = f"{_number(len(missing), 'queue')} not on the list of queues: {_some(missing)}"
        findings.append(Finding("queues", "warning", text, f"{FIX}: put back on the list"))
    if wrong := await registry.miscounted(broker):
        text = f"{_number(len(wrong), 'queue')} with fewer partitions counted than are listed: {_some([*wrong])}"
        findings.append(
            Finding("queues", "warning", text, f"{FIX}: counted anew; until then clients do not submit there")
        )
    if not findings and (unused := await registry.find_unused(broker, mark=False)):
        text = f"{_number(len(unused), 'queue')} empty and unused for 30 days: {_some(unused)}"
        findings.append(Finding("queues", "warning", text, f"{FIX}: forgotten; workers do so too, in time"))
    return findings


async def repair_registry(broker: Broker) -> list[Finding]:
    """Repair the list of queues, and say what was done."""
    done = []
    broken, missing = await registry.is_broken(broker), await registry.unlisted(broker)
    if broken or missing:
        await registry.relist(broker, missing)
        done.append(Finding("queues", "repaired", f"{_number(len(missing), 'queue')} listed again: {_some(missing)}"))
    if counted := await registry.recount(broker):
        text = f"partitions of {_number(len(counted), 'queue')} counted anew: {_some([*counted])}"
        done.append(Finding("queues", "repaired", text))
    forgotten = [
        queue for queue in await registry.find_unused(broker, mark=True) if await registry.forget(broker, queue)
    ]
    if forgotten:
        text = f"{_number(len(forgotten), 'queue')} forgotten: {_some(forgotten)}"
        done.append(Finding("queues", "repaired", text))
    return done


async def queue_names(broker: Broker) -> list[str]:
    """The names of all queues; none while their list cannot be read."""
    return [] if await registry.is_broken(broker) else await names(broker)


async def _take_back(broker: Broker, queue: str) -> int:
    taken = 0
    while lost := await reclaim(broker, queue, "doctor", ABANDONED_MS, hold_ms=1):
        taken += len(lost)
    await remove_gone_workers(broker, queue)
    return taken


async def _round(broker: Broker, queue: str, progress: Progress, *, repair: bool) -> Round:
    total, seen = await size(broker, queue), 0
    counts: Counter[Damage] = Counter()
    shown: dict[Damage, list[str]] = {}
    workers: set[str] = set()
    async for step in audit_queue(broker, queue, repair=repair):
        seen += step.seen
        progress(queue, min(seen, total), total)
        workers.update(step.workers)
        for found in step.found:
            _note(found, counts, shown)
    return Round(counts, shown, len(workers))


def _note(found: DamageFinding, counts: Counter[Damage], shown: dict[Damage, list[str]]) -> None:
    known = shown.setdefault(found.damage, [])
    counts[found.damage] += found.times
    if len(known) <= SHOWN:
        known.append(found.name)


def _trouble(subject: str, trouble: Damage, found: Round) -> Finding:
    words = DESCRIPTIONS[trouble]
    if trouble is Damage.HELD and found.workers:
        return Finding(
            subject, words.level, _told(trouble, found), "wait: a live worker takes them back within two leases"
        )
    advice = f"{FIX}: {words.done}" if words.done else "look at them, and delete what nobody needs"
    return Finding(subject, words.level, _told(trouble, found), advice)


def _told(trouble: Damage, found: Round) -> str:
    words = DESCRIPTIONS[trouble]
    return f"{_number(found.counts[trouble], words.noun, words.nouns)} {words.about}: {_some(found.names[trouble])}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _number(count: int, noun: str, several: str = "") -> str:
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


async def _count(client: Any, keys: Keys, workers: int) -> Count:
    seconds, micros = await client.time()
    late = (seconds + micros / 1e6 - OVERDUE_SECONDS) * 1000
    lanes = (RETURNED, *LANES)
    async with client.pipeline(transaction=False) as pipe:
        pipe.hexists(keys.meta, "paused")
        pipe.zcard(keys.delayed)
        pipe.zcount(keys.delayed, "-inf", late)
        pipe.zcard(keys.dead)
        for lane in lanes:
            pipe.xlen(keys.lane(lane))
        for lane in lanes:
            pipe.xinfo_groups(keys.lane(lane))
        answers = none_if_missing(await pipe.execute(raise_on_error=False))
    paused, *numbers = [answer or 0 for answer in answers[: 4 + len(lanes)]]
    pending = sum(group["pending"] for groups in answers[4 + len(lanes) :] for group in groups or ())
    delayed, overdue, dead, *entries = numbers
    return Count(bool(paused), sum(entries), pending, delayed, overdue, dead, workers)


def _summary(count: Count) -> str:
    waiting = max(0, count.entries - count.pending)
    jobs = f"{waiting:,} waiting, {count.pending:,} running, {count.delayed:,} delayed"
    return f"{jobs}; {_number(count.workers, 'worker')}"


def _state(queue: str, count: Count) -> Iterator[Finding]:
    """What is no damage, but keeps jobs from running or wants somebody's eye."""
    subject = f"queue {queue}"
    if count.paused:
        text = "paused: workers take no jobs from it"
        yield Finding(subject, "warning", text, f"taskserver queue resume {queue_of(queue)}")
    if count.jobs and not count.workers:
        text = f"{_number(count.jobs, 'job')} and no live worker"
        yield Finding(subject, "warning", text, f"start one: taskserver worker --queue {queue_of(queue)}")
    if count.overdue:
        advice = (
            "see the workers' logs: their schedulers fail" if count.workers else "start a worker: it puts them back"
        )
        yield Finding(subject, "warning", f"{_number(count.overdue, 'delayed job')} overdue", advice)
    if count.dead:
        yield Finding(
            subject, "warning", _number(count.dead, "dead letter"), f"taskserver dead list --queue {queue_of(queue)}"
        )
