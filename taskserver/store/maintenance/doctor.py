"""The doctor: reports what is wrong with queues and their list, and repairs it when asked to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.partitions import queue_of
from taskserver.observability.phrases import count
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.health import Finding
from taskserver.store.jobs.recover import reclaim
from taskserver.store.keys import Keys
from taskserver.store.maintenance import registry
from taskserver.store.maintenance.audit import audit_queue, estimate_size, remove_gone_workers
from taskserver.store.maintenance.damage import DESCRIPTIONS, Damage, DamageFinding
from taskserver.store.queries.queues import names
from taskserver.store.replies import none_if_missing

FIX = "taskserver doctor --fix"
SHOWN = 3
"""How many names are shown of each kind of damage."""
OVERDUE_SECONDS = 5.0
LEASE_MS = 15_000
"""Stands for the lease of a worker that comes meanwhile, if its snapshot cannot be read."""

Progress = Callable[[str, int, int], object]
"""Called with the queue, how many keys and entries have been checked, and about how many there are."""


class QueueCounts(NamedTuple):
    """How many jobs and workers a queue has."""

    paused: bool
    entries: int
    pending: int
    delayed: int
    overdue: int
    dead: int
    workers: int

    @property
    def jobs(self) -> int:
        """Jobs that need a worker."""
        return self.entries + self.delayed


class AuditSummary(NamedTuple):
    """What one audit has found.

    Attributes:
        counts: How often, by kind of damage.
        names: Some names, by kind of damage.
        workers: How many workers are alive.
    """

    counts: Counter[Damage]
    names: dict[Damage, list[str]]
    workers: int


async def examine_queue(broker: Broker, queue: str, progress: Progress) -> list[Finding]:
    """Report everything about a queue that people should know; nothing is changed."""
    audit = await _audit(broker, queue, progress, repair=False)
    subject = f"queue {queue}"
    damage = [_damage_finding(subject, kind, audit) for kind in Damage if audit.counts[kind]]
    counts = await broker.ask(
        broker.keys(queue).prefix, lambda client: _count(client, broker.keys(queue), audit.workers)
    )
    return [Finding(subject, "ok", _summary(counts)), *_state_findings(queue, counts), *damage]


async def repair_queue(broker: Broker, queue: str, progress: Progress) -> list[Finding]:
    """Repair what can be repaired, and report what was done."""
    audit = await _audit(broker, queue, progress, repair=True)
    if audit.counts[Damage.HELD]:
        # If a worker is alive, its reclaimer takes back what the dead ones held, and knows the lease.
        audit.counts[Damage.HELD] = 0 if audit.workers else await _take_back(broker, queue)
    repaired = [kind for kind in Damage if audit.counts[kind] and DESCRIPTIONS[kind].repair]
    return [
        Finding(f"queue {queue}", "repaired", f"{_describe(kind, audit)}: {DESCRIPTIONS[kind].repair}")
        for kind in repaired
    ]


async def examine_registry(broker: Broker) -> list[Finding]:
    """Report what is wrong with the list of queues."""
    findings = []
    if await registry.is_broken(broker):
        findings.append(Finding("queues", "error", "the list of queues is of the wrong type", f"{FIX}: recreated"))
    if missing := await registry.find_unlisted(broker):
        text = f"{count(len(missing), 'queue')} not on the list of queues: {_some(missing)}"
        findings.append(Finding("queues", "warning", text, f"{FIX}: listed again"))
    if wrong := await registry.find_miscounted(broker):
        text = f"{count(len(wrong), 'queue')} with fewer partitions counted than listed: {_some([*wrong])}"
        findings.append(
            Finding("queues", "warning", text, f"{FIX}: counted again; until then clients do not submit to all of them")
        )
    if not findings and (unused := await registry.find_unused(broker, mark=False)):
        text = f"{count(len(unused), 'queue')} empty and unused for 30 days: {_some(unused)}"
        findings.append(Finding("queues", "warning", text, f"{FIX}: forgotten; workers do this too, once an hour"))
    return findings


async def repair_registry(broker: Broker) -> list[Finding]:
    """Repair the list of queues, and report what was done."""
    done = []
    broken, missing = await registry.is_broken(broker), await registry.find_unlisted(broker)
    if broken or missing:
        await registry.relist(broker, missing)
        done.append(Finding("queues", "repaired", f"{count(len(missing), 'queue')} listed again: {_some(missing)}"))
    if counted := await registry.recount(broker):
        text = f"partitions of {count(len(counted), 'queue')} counted again: {_some([*counted])}"
        done.append(Finding("queues", "repaired", text))
    unused = await registry.find_unused(broker, mark=True)
    forgotten = [queue for queue in unused if await registry.forget(broker, queue)]
    if forgotten:
        text = f"{count(len(forgotten), 'queue')} forgotten: {_some(forgotten)}"
        done.append(Finding("queues", "repaired", text))
    return done


async def queue_names(broker: Broker) -> list[str]:
    """The names of all queues; none if their list cannot be read."""
    return [] if await registry.is_broken(broker) else await names(broker)


async def _take_back(broker: Broker, queue: str) -> int:
    """Take back all that is held, since no worker is alive; one that comes meanwhile has told the broker so first."""
    taken, next_ms = 0, 0
    while not next_ms:
        _, next_ms, lost = await reclaim(broker, queue, "doctor", LEASE_MS, patient=False)
        taken += len(lost)
    await remove_gone_workers(broker, queue)
    return taken


async def _audit(broker: Broker, queue: str, progress: Progress, *, repair: bool) -> AuditSummary:
    total, seen = await estimate_size(broker, queue), 0
    summary = AuditSummary(Counter(), {}, 0)
    workers: set[str] = set()
    async for step in audit_queue(broker, queue, repair=repair):
        seen += step.seen
        progress(queue, min(seen, total), total)
        workers.update(step.workers)
        for finding in step.found:
            _add(finding, summary)
    return summary._replace(workers=len(workers))


def _add(finding: DamageFinding, summary: AuditSummary) -> None:
    summary.counts[finding.damage] += finding.affected
    shown = summary.names.setdefault(finding.damage, [])
    if len(shown) <= SHOWN:
        shown.append(finding.name)


def _damage_finding(subject: str, kind: Damage, audit: AuditSummary) -> Finding:
    description = DESCRIPTIONS[kind]
    if kind is Damage.HELD and audit.workers:
        advice = "wait: a live worker takes them back within two leases"
    elif description.repair:
        advice = f"{FIX}: {description.repair}"
    else:
        advice = "look at them, and delete what nobody needs"
    return Finding(subject, description.level, _describe(kind, audit), advice)


def _describe(kind: Damage, audit: AuditSummary) -> str:
    about = DESCRIPTIONS[kind]
    return f"{count(audit.counts[kind], about.noun, about.nouns)} {about.problem}: {_some(audit.names[kind])}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


async def _count(client: Any, keys: Keys, workers: int) -> QueueCounts:
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
    return QueueCounts(bool(paused), sum(entries), pending, delayed, overdue, dead, workers)


def _summary(counts: QueueCounts) -> str:
    waiting = max(0, counts.entries - counts.pending)
    jobs = f"{waiting:,} waiting, {counts.pending:,} running, {counts.delayed:,} delayed"
    return f"{jobs}; {count(counts.workers, 'worker')}"


def _state_findings(queue: str, counts: QueueCounts) -> Iterator[Finding]:
    """What is not damage, but keeps jobs from running or needs attention."""
    subject = f"queue {queue}"
    if counts.paused:
        text = "paused: workers claim no jobs from it"
        yield Finding(subject, "warning", text, f"taskserver queue resume {queue_of(queue)}")
    if counts.jobs and not counts.workers:
        text = f"{count(counts.jobs, 'job')} and no live worker"
        yield Finding(subject, "warning", text, f"start one: taskserver worker --queue {queue_of(queue)}")
    if counts.overdue:
        advice = "see the workers' logs: their schedulers fail" if counts.workers else "start a worker: it queues them"
        yield Finding(subject, "warning", f"{count(counts.overdue, 'delayed job')} overdue", advice)
    if counts.dead:
        yield Finding(
            subject, "warning", count(counts.dead, "dead letter"), f"taskserver dead list --queue {queue_of(queue)}"
        )
