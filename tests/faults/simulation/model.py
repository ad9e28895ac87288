"""What a job may do next, and what must hold after every step.

- I1: every acknowledged job has a record, and something that will wake it, unless it ended.
- I2: one terminal state, which never changes until a person requeues the job; one attempt whose fence is valid.
- I3: whoever comes with an older fence changes nothing (checked by the rule ``zombie`` and, for fences, here).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from taskserver.domain.job import ClaimedJob, State
from tests.architecture.headers import edges
from tests.architecture.package import scripts
from tests.faults.simulation.snapshot import Snapshot

MAX_ATTEMPTS = 2
EDGES = {path.stem: edges(path) for path in scripts()}
"""By script, the moves that its header announces; repair_jobs also makes dead letters of what cannot be read."""
EDGES["repair_jobs"] |= {(None, State.DEAD)}


class Attempt(NamedTuple):
    """An attempt as its worker knows it."""

    job: ClaimedJob
    worker: str


class Job:
    """What the model knows of a job. ``state`` is None once somebody has destroyed its record."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.state: State | None = None
        self.is_new = True
        self.fence = b""
        self.newest_fence = 0
        self.attempts = 0
        self.attempt: Attempt | None = None
        self.asked_to_end = False
        self.overdue = False
        self.damaged = False
        self.message_lost = False
        self.outdated = False
        self.end: tuple[bytes, ...] | None = None

    def leads_to(self, state: State) -> State:
        """Where a settlement takes it: a job that was asked to end is not run again."""
        return State.CANCELLED if self.asked_to_end and not state.ended else state


class Model:
    """All jobs, every attempt that was ever handed out, and what has been seen."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.past: list[Attempt] = []
        self.disturbed = False
        self.paused = False
        self.calls: Counter[str] = Counter()
        self.moves: Counter[tuple[str, str, str]] = Counter()

    def in_state(self, *states: State | None) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in states]

    def held_by(self, worker: str) -> list[Attempt]:
        return [job.attempt for job in self.jobs.values() if job.attempt and job.attempt.worker == worker]

    def begin(self, claimed: ClaimedJob, worker: str, *, heard: bool = True) -> None:
        """A claim gave this attempt; where its answer was lost, no worker knows of it."""
        job = self.jobs[claimed.key]
        assert claimed.fence > job.newest_fence, "two attempts were given the same fence, or an older one"
        assert job.attempt is None, "an attempt was begun while another one has a valid fence"
        job.newest_fence = claimed.fence
        job.overdue = False
        if heard:
            job.attempt = Attempt(claimed, worker)
        else:
            self.past.append(Attempt(claimed, worker))

    def forget_attempt(self, job: Job) -> None:
        """Its worker has died, or lost the job."""
        if job.attempt:
            self.past.append(job.attempt)
        job.attempt = None

    def destroy(self, job: Job) -> None:
        """Somebody has overwritten its record; nothing of it counts any more."""
        self.forget_attempt(job)
        job.state, job.end, job.asked_to_end, job.damaged = None, None, False, True

    def adopt(self, job: Job, snapshot: Snapshot) -> None:
        """Somebody has written into its record by hand."""
        record = snapshot.records[job.key] or {}
        job.state, job.fence = snapshot.state(job.key), snapshot.fence(job.key)
        job.attempts = number(record.get(b"attempt", b"0"))

    def compare(self, snapshot: Snapshot, script: str) -> None:
        """After a call of ``script`` (empty for what is no script): only what it announces has happened."""
        self.calls[script] += 1
        for job in self.jobs.values():
            self._compare(job, snapshot, script)
        if not self.disturbed:
            self.check_wake_up_calls(snapshot)

    def check_wake_up_calls(self, snapshot: Snapshot) -> None:
        """I1: whatever is not at its end has something that will bring it there."""
        for job in self.jobs.values():
            if job.state in (State.QUEUED, State.RUNNING):
                assert snapshot.is_awake(job.key), f"nothing wakes this {job.state} job"
            if job.state is State.DELAYED:
                assert job.key in snapshot.delayed, "nothing wakes this delayed job"
            if job.state is State.DEAD:
                assert job.key in snapshot.dead, "nobody sees this dead letter"
            assert job.state is not None, "an unreadable record was not made a dead letter"

    def _compare(self, job: Job, snapshot: Snapshot, script: str) -> None:
        record, state, fence = snapshot.records[job.key] or {}, snapshot.state(job.key), snapshot.fence(job.key)
        before, moved = job.state, state is not job.state
        if moved or job.is_new:
            assert (before, state) in EDGES.get(script, ()), f"{script or 'nobody'} moved a job: {before} to {state}"
            self.moves[script, str(before), str(state)] += 1
            expected = _attempts_after(job, script, state)
            assert job.damaged or int(record.get(b"attempt", 0)) == expected, "attempts are miscounted"
            job.attempts = number(record.get(b"attempt", b"0")) if job.damaged else expected
        if moved and _raises_the_fence(script, state):
            assert int(fence) > number(job.fence), "the fence did not rise"
        elif before is not None:
            assert fence == job.fence, "the fence changed under its job"
        if moved and state is not State.RUNNING:
            self.forget_attempt(job)
            job.asked_to_end = job.asked_to_end and state is None
        job.is_new, job.state, job.fence = False, state, fence
        self._check_end(job, record)
        if job.attempt and state is State.RUNNING:
            assert job.attempt.job.fence == int(fence), "an attempt runs on with a fence that is not valid"

    def _check_end(self, job: Job, record: dict[bytes, bytes]) -> None:
        """I2: the first terminal state that was recorded is the only one."""
        if job.state is None or not job.state.ended:
            job.end = None
            return
        end = (record[b"state"], record[b"ended"], record.get(b"data", b""))
        assert job.end in (None, end), f"a job has ended twice: {job.end} and {end}"
        job.end = end


def number(field: bytes) -> int:
    """A field as the scripts read it: 0 where it is no number of ours."""
    return int(field) if field.isdigit() and len(field) < 16 else 0


def _raises_the_fence(script: str, state: State | None) -> bool:
    return script in ("reclaim", "recall", "requeue") or (script, state) == ("claim", State.RUNNING)


def _attempts_after(job: Job, script: str, state: State | None) -> int:
    match script:
        case "claim":
            if state is State.DEAD:
                assert job.damaged or job.message_lost or job.attempts >= MAX_ATTEMPTS, "a dead letter before its time"
            if state is State.EXPIRED:
                assert job.damaged or (job.outdated and not job.attempts), "a job expired that had time, or had started"
            if state is State.RUNNING:
                assert job.damaged or job.attempts or not job.outdated, "a job was begun whose time to start was over"
                assert job.damaged or not job.message_lost, "an attempt was begun without its message"
                assert job.damaged or job.attempts < MAX_ATTEMPTS, "an attempt too many"
            return job.attempts + (state is State.RUNNING)
        case "release" | "wait":
            return job.attempts - (state is not State.CANCELLED)
        case "defer" | "recall":
            return job.attempts - 1
        case "requeue" | "submit":
            return 0
    return job.attempts
