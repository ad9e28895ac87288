"""Takeovers: how long until the jobs of a killed worker ran again, in leases of that worker, and what was in the way.

Two leases are promised where the broker is there and another worker is alive. So a takeover is *disturbed* by a fault
of the broker meanwhile, or if no other worker could take jobs all the time: each was killed, frozen, stopped, only just
started, or had its event loop or memory taken by a tool.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from tests.faults.soak.check import Stored
from tests.faults.soak.plan import BROKER_FAULTS
from tests.faults.soak.producer import NASTY
from tests.faults.soak.records import JobRecord, Record

NEVER = float("inf")
PROMISED_LEASES = 2.0
RENEWAL_SHARE = 2 / 3
"""After the broker was away, live workers get this part of the longest lease to renew before anything is taken back."""
HARMLESS = {"cut subscriptions", "flush scripts"}
"""Faults of the broker after which nobody has to wait."""
NO_OTHER_WORKER = "no other worker could take jobs all the time"


class Takeover(NamedTuple):
    """A job ran again whose worker was killed.

    Attributes:
        job: Its id.
        killed: When its worker was killed, in seconds since 1970.
        taken_back: When it was queued again; None if its history has no more of that.
        again: When it ran again.
        lease: Seconds, of the killed worker.
        disturbances: What was in the way.
    """

    job: str
    killed: float
    taken_back: float | None
    again: float
    lease: float
    disturbances: tuple[str, ...]

    @property
    def leases(self) -> float:
        return (self.again - self.killed) / self.lease

    def __str__(self) -> str:
        back = "unknown" if self.taken_back is None else f"{(self.taken_back - self.killed) / self.lease:.1f}"
        why = "; ".join(self.disturbances) or "nothing known was in the way"
        return f"{self.job}: queued again after {back}, running after {self.leases:.1f} leases: {why}"


class _Life(NamedTuple):
    """When a worker could take jobs: since it was ready, until it was hit, and not while a tool held it."""

    ready: float
    gone: float
    away: list[tuple[float, float]]

    def serves(self, begin: float, end: float) -> bool:
        return self.ready <= begin and self.gone > end and not any(a < end and b > begin for a, b in self.away)


def takeovers(record: Record, stored: Mapping[str, Stored], lease: float) -> list[Takeover]:
    """All takeovers.

    Args:
        record: The ledger.
        stored: What the broker has of each job.
        lease: Of workers of which the ledger does not tell.
    """
    kills = {fault.pid: fault.begun for fault in record.faults if fault.name in ("kill worker", "kill all workers")}
    lives = _lives(record)
    found = []
    for job, job_record in record.jobs.items():
        for pid, killed, again in _run_again(job_record, kills):
            lost = stored[job].lost if job in stored else ()
            back = next((at for at in lost if killed <= at <= again), None)
            why = tuple(_disturbances(record, lives, pid, killed, again))
            its_lease = record.ready[pid].lease if pid in record.ready else lease
            found.append(Takeover(job, killed, back, again, its_lease, why))
    return found


def late_by_cause(found: list[Takeover]) -> dict[str, int]:
    """How many takeovers took longer than promised, by each thing that was in the way."""
    late = [takeover for takeover in found if takeover.leases > PROMISED_LEASES]
    return dict(Counter(why for takeover in late for why in takeover.disturbances or ("nothing known",)).most_common())


def _run_again(job_record: JobRecord, kills: Mapping[int | None, float]) -> Iterator[tuple[int, float, float]]:
    """The worker that was killed while it ran the job, when that was, and when the job began to run again."""
    runs = sorted(job_record.runs.values(), key=lambda run: run.at)
    for run, following in pairwise(runs):
        killed = kills.get(run.pid)
        if killed is not None and run.at < killed < following.at and run.ended is None:
            yield run.pid, killed, following.at


def _lives(record: Record) -> dict[int, _Life]:
    nasty: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for job_record in record.jobs.values():
        for run in job_record.runs.values() if job_record.kind in NASTY else ():
            nasty[run.pid].append((run.at, run.ended or NEVER))
    lives = {}
    for pid, (ready, _) in record.ready.items():
        hits = [fault for fault in record.faults if fault.pid == pid and fault.over > ready]
        ends = [fault.begun for fault in hits if fault.name != "freeze worker"]
        ends += [line["at"] for line in record.deaths if line["pid"] == pid and line["at"] > ready]
        frozen = [(fault.begun, fault.over) for fault in hits if fault.name == "freeze worker"]
        lives[pid] = _Life(ready, min(ends, default=NEVER), [*frozen, *nasty[pid]])
    return lives


def _disturbances(record: Record, lives: Mapping[int, _Life], pid: int, killed: float, again: float) -> Iterator[str]:
    renewing = RENEWAL_SHARE * max((worker.lease for worker in record.ready.values()), default=0.0)
    faults = (fault for fault in record.faults if fault.name in set(BROKER_FAULTS) - HARMLESS)
    yield from sorted({f.name for f in faults if f.begun < again and f.over > killed - renewing})
    if not any(life.serves(killed, again) for other, life in lives.items() if other != pid):
        yield NO_OTHER_WORKER
