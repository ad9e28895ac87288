"""The invariants: what the ledger says was promised, against what the broker has in the end.

== ==================================================================================================
I1 every acknowledged job has ended, once, and in a way that fits what its tool does and what was asked
I2 an end that was seen, by the watcher or by a client, stays; one submit is one job
I3 the recorded end, and all that was reported on the way, is from the run that had the job: no stale write
I4 all of it came to its end without a hand
I5 no secret in any log
== ==================================================================================================

Where the broker itself may lose what it took last (``appendfsync everysec`` and a power cut), what it took in that time
is excused and counted; nothing else is.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tests.faults.soak.records import JobRecord, Record, Run, Seen
from tests.faults.soak.tools import PIECES
from tests.faults.soak.watcher import ended_at, fence_of, has_not_ended

NOW = float("inf")


class Stored(NamedTuple):
    """What the broker has of a job in the end.

    Attributes:
        end: As whoever awaits it sees it (``producer.end_of``); the state, if it has not ended.
        stamp: As the watcher sees it (``watcher.stamps``).
        token: The submit that it is from.
        history: How often an attempt was ``lost``, ``released`` or followed by a ``retry``.
        pieces: Its output, in order.
        lost: When its attempts were lost, by the broker's clock, in seconds since 1970.
    """

    end: str
    stamp: str
    token: str
    history: Mapping[str, int]
    pieces: list[str]
    lost: Sequence[float] = ()


class Breach(NamedTuple):
    """An invariant that does not hold: which, of which job, and how."""

    rule: str
    job: str
    what: str


@dataclass
class Verdict:
    """What a check found."""

    breaches: list[Breach] = field(default_factory=list)
    lost: int = 0
    """Acknowledged jobs that the broker was allowed to lose, and did."""
    undone: int = 0
    """Ends that the broker was allowed to forget, and did."""

    def breach(self, rule: str, job: str, what: str) -> None:
        self.breaches.append(Breach(rule, job, what))


def check(record: Record, stored: Mapping[str, Stored]) -> Verdict:
    """Hold the invariants against every job that was promised, or is there."""
    verdict = Verdict()
    for job in {**record.jobs, **stored}:
        job_record, kept = record.jobs.get(job, JobRecord()), stored.get(job)
        if kept is None:
            _lost(record, job, job_record, verdict)
            continue
        if has_not_ended(kept.stamp):
            verdict.breach("I4", job, f"is still {kept.stamp}")
            continue
        if not _fits(job_record, kept.end):
            verdict.breach(
                "I1", job, f"cannot have ended as {kept.end!r}, being {job_record.kind or 'of unknown kind'}"
            )
        _one_end(record, job, job_record, kept, verdict)
        _no_stale_write(record, job, job_record, kept, verdict)
        _no_stale_word(record, job, job_record, kept, verdict)
    _one_job_a_submit(stored, verdict)
    return verdict


def _lost(record: Record, job: str, job_record: JobRecord, verdict: Verdict) -> None:
    """A job that the broker does not know. If its submit raised, nothing was promised."""
    if job_record.acknowledged is None:
        return
    if record.excused(job_record.acknowledged, NOW):
        verdict.lost += 1
    else:
        verdict.breach("I1", job, "was acknowledged and is lost")


_WORKER_LOST = r"failed: WorkerLost: "
_NO_MEMORY = r"failed: MemoryError: |failed: RuntimeError: can't start new thread"  # beside a hog
_ENDS = {
    "flaky": r"succeeded: |failed: ConnectionError: ",
    "broken": r"failed: ValueError: ",
    "leaves": r"failed: SystemExit: ",
    "poison": r"$",
    "hog": r"$",
    "stubborn": r"failed: TimeoutError: ",
}


def _fits(job_record: JobRecord, end: str) -> bool:
    """Whether a job may end so; of one that was never acknowledged, little is known."""
    if end == "cancelled":
        return job_record.cancelled or job_record.acknowledged is None
    if end == "expired":
        return job_record.may_expire or job_record.acknowledged is None
    usual = _ENDS.get(job_record.kind, r"succeeded: ") if job_record.kind else ""
    return re.match(f"{usual}|{_WORKER_LOST}|{_NO_MEMORY}", end) is not None


def _one_end(record: Record, job: str, job_record: JobRecord, kept: Stored, verdict: Verdict) -> None:
    for before, after in pairwise([*job_record.stamps, Seen(NOW, kept.stamp)]):
        if before.end == after.end or has_not_ended(before.end):
            continue
        if record.excused(ended_at(before.end), after.at):
            verdict.undone += 1
        else:
            verdict.breach("I2", job, f"had ended as {before.end!r}, and then was {after.end!r}")
    for seen in job_record.results:
        if seen.end != kept.end and not record.excused(seen.at, NOW):
            verdict.breach("I2", job, f"a client saw {seen.end!r}, and the end is {kept.end!r}")


def _no_stale_write(record: Record, job: str, job_record: JobRecord, kept: Stored, verdict: Verdict) -> None:
    fence = fence_of(kept.stamp)
    by_fence: defaultdict[int, list[Run]] = defaultdict(list)
    for run in job_record.runs.values():
        by_fence[run.fence].append(run)
    for number, runs in by_fence.items():
        if number > fence and not all(record.excused(run.at, NOW) for run in runs):
            verdict.breach("I3", job, f"ended with fence {fence}, but run {runs[0].name} has {number}")
        if len(runs) > 1:
            verdict.breach("I3", job, f"two runs had fence {number}: {runs[0].name} and {runs[1].name}")
    if named := re.match(r"succeeded: (\S+)|failed: \S+ run (\S+) fails", kept.end):
        winner = job_record.runs.get(named[1] or named[2])
        if winner is None:
            verdict.breach("I3", job, f"its end {kept.end!r} is from no run of it")
        elif winner.fence != fence:
            verdict.breach("I3", job, f"its end is from run {winner.name} with fence {winner.fence}, not {fence}")


def _no_stale_word(record: Record, job: str, job_record: JobRecord, kept: Stored, verdict: Verdict) -> None:
    """A job's output: run after run, none skipped or twice, and all of the run that succeeded."""
    if job_record.kind != "talk" or any(
        record.excused(run.at, NOW) or _met_a_cut(record, run) for run in job_record.runs.values()
    ):
        return
    succeeded = kept.end.startswith("succeeded")
    if why := _disorder(kept.pieces, fence_of(kept.stamp) if succeeded else None):
        verdict.breach("I3", job, f"its output {why}: {kept.pieces}")
    for output in job_record.outputs:
        if output.texts != kept.pieces and not record.excused(output.at, NOW):
            verdict.breach("I2", job, f"a client heard {output.texts}, and its output is {kept.pieces}")


def _met_a_cut(record: Record, run: Run) -> bool:
    return any(run.at <= cut.at and (run.ended is None or run.ended >= cut.kept_until) for cut in record.cuts)


def _disorder(pieces: list[str], winner: int | None) -> str:
    last_fence, expected = 0, 0
    for piece in pieces:
        fence, number = map(int, piece.split())
        if fence < last_fence:
            return f"has words of fence {fence} behind those of {last_fence}"
        expected = expected if fence == last_fence else 0
        if number != expected:
            return f"has word {number} of fence {fence} where {expected} should be"
        last_fence, expected = fence, expected + 1
    if winner is not None and (last_fence, expected) != (winner, PIECES):
        return f"is not complete for fence {winner}"
    return ""


def _one_job_a_submit(stored: Mapping[str, Stored], verdict: Verdict) -> None:
    by_token: defaultdict[str, list[str]] = defaultdict(list)
    for job, kept in stored.items():
        by_token[kept.token].append(job)
    for token, jobs in by_token.items():
        if len(jobs) > 1:
            verdict.breach("I2", jobs[0], f"submit {token} made {len(jobs)} jobs: {', '.join(jobs)}")


def repeated_runs(record: Record, stored: Mapping[str, Stored]) -> Counter[str]:
    """Runs beyond each job's first, by why there was another: the events of the jobs' histories."""
    causes: Counter[str] = Counter()
    for job, job_record in record.jobs.items():
        extra = len(job_record.runs) - 1
        history = stored[job].history if job in stored else {}
        for event in ("retry", "released", "lost"):
            share = max(0, min(extra, history.get(event, 0)))
            causes[event] += share
            extra -= share
        if extra > 0:
            causes["unknown" if not record.cuts else "unknown, or forgotten by the broker"] += extra
    return causes


def returns(record: Record, stored: Mapping[str, Stored]) -> list[float]:
    """Seconds from the broker's return, after it was down, to the next end of a job."""
    ends = sorted(ended_at(kept.stamp) for kept in stored.values())
    waits = []
    for fault in record.faults:
        if fault.name in ("kill broker", "cut power", "load slowly", "freeze broker") and not fault.failed:
            after = next((end for end in ends if end >= fault.over), None)
            if after is not None and after != NOW:
                waits.append(after - fault.over)
    return waits
