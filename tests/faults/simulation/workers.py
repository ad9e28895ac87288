"""Rules: what workers do, those included that should have been dead."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.settlement import Defer, Refusal, Settlement
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.jobs import recover
from taskserver.store.jobs.claim import StreamEntry
from taskserver.store.keys import GROUP
from tests.faults.simulation.base import JOBS, NUMBER, WORKER, Base, where_a_job_is
from tests.faults.simulation.model import MAX_ATTEMPTS, Attempt, Job
from tests.faults.simulation.snapshot import ALL_LANES
from tests.store.harness import (
    LARGE_ERROR,
    LARGE_RESULT,
    LONG_MS,
    QUEUE,
    SMALL_ERROR,
    fail,
    release,
    retry,
    says,
    succeed,
)

Settle = Callable[[ClaimedJob], Settlement]
HOW: dict[str, tuple[str, Settle, State]] = {
    "succeed": ("finish", succeed, State.SUCCEEDED),
    "succeed largely": ("finish", lambda job: succeed(job, LARGE_RESULT), State.SUCCEEDED),
    "fail": ("finish", lambda job: fail(job, State.FAILED), State.FAILED),
    "die": ("finish", lambda job: fail(job, State.DEAD, LARGE_ERROR), State.DEAD),
    "obey": ("finish", lambda job: fail(job, State.CANCELLED), State.CANCELLED),
    "retry": ("retry", lambda job: retry(job, SMALL_ERROR, LONG_MS), State.DELAYED),
    "release": ("release", release, State.QUEUED),
    "defer": ("defer", lambda job: Defer(job.key, job.fence, LARGE_ERROR), State.DELAYED),
}
WAYS = st.sampled_from(sorted(HOW))
HELD = precondition(lambda self: any(job.attempt for job in self.model.jobs.values()))


class Workers(Base):
    """Claiming, renewing, reporting, settling; dying, and writing all the same."""

    def held(self, number: int) -> tuple[Job, Attempt]:
        found = [(job, job.attempt) for job in self.model.jobs.values() if job.attempt]
        return found[number % len(found)]

    @rule(worker=WORKER)
    def read(self, worker: str) -> None:
        """A blocking read brings entries; whether the worker lives to begin them will be seen."""
        streams = {self.queue.keys.lane(lane): ">" for lane in ALL_LANES}
        self.call("prepare", self.queue.broker.prepare(QUEUE, again=True))
        answer = self.call("", self.queue.redis.xreadgroup(GROUP, worker, streams, count=1))
        for lane, entries in answer:
            for id_, fields in entries:
                name = lane.rpartition(b":")[2]
                self.unbegun.append((worker, StreamEntry(name, id_, (fields or {}).get(b"job", b""))))

    @where_a_job_is(State.QUEUED)
    @rule(worker=WORKER)
    def fill_up(self, worker: str) -> None:
        """A worker with room for all."""
        self.claim(worker, 3 * JOBS)

    @where_a_job_is(State.QUEUED, State.RUNNING)
    @rule(worker=WORKER, slots=st.integers(0, 3), heard=st.booleans())
    def claim(self, worker: str, slots: int, heard: bool = True) -> None:
        """Unless it is ``heard``, the answer is lost, and the worker knows nothing of these attempts."""
        entries = [entry for reader, entry in self.unbegun if reader == worker]
        self.unbegun = [(reader, entry) for reader, entry in self.unbegun if reader != worker]
        self.run(self.queue.redis.set(self.queue.keys.worker(worker), b"about", px=LONG_MS))  # it is alive
        claimed = self.run(self.queue.claim(slots, worker, entries=entries))
        assert len(claimed) <= slots, "more attempts were begun than there are slots"
        assert not (claimed and self.model.paused), "an attempt was begun in a paused queue"
        for job in claimed:
            assert self.model.jobs[job.key].state is State.QUEUED, "a job that is not queued was begun"
            self.model.begin(job, worker, heard=heard)
        snapshot = self.compare("claim")
        for job in claimed:
            assert self.model.jobs[job.key].state is State.RUNNING
            if job.key.encode() not in {entry.key for entry in entries}:
                assert snapshot.holder(job.key) == worker, "an attempt was begun whose lease nobody has"

    @rule(worker=WORKER)
    def read_without_a_slot(self, worker: str) -> None:
        """What a blocking read has brought goes back to the others."""
        self.read(worker)
        self.claim(worker, 0)

    @HELD
    @rule(number=NUMBER, how=WAYS, again=st.booleans())
    def settle(self, number: int, how: str, again: bool) -> None:
        job, attempt = self.held(number)
        script, settlement, state = HOW[how]
        expected = job.leads_to(state)
        for _ in range(1 + again):  # its answer was lost
            assert self.call(script, self.queue.settle(settlement(attempt.job))) == []
        assert job.state is expected or (job.damaged and script == "defer"), f"{how} led to {job.state}"

    @HELD
    @rule(number=NUMBER, limited=st.booleans())
    def wait(self, number: int, limited: bool) -> None:
        job, attempt = self.held(number)
        expected = job.leads_to(State.WAITING)
        assert self.call("wait", self.queue.wait(attempt.job, LONG_MS * limited)) == []
        job.outdated = False  # it has started in time
        assert job.state is expected

    @HELD
    @rule(number=NUMBER)
    def renew(self, number: int) -> None:
        """The worker hears of those that were asked to end, and of no other."""
        self.beat(self.held(number)[1].worker)

    def beat(self, worker: str) -> None:
        """One heartbeat of a worker for all that it runs."""
        mine = self.model.held_by(worker)
        jobs = [attempt.job for attempt in mine]
        attention = self.run(self._renew(jobs, worker))
        asked = {job.key: "cancel" for job in jobs if self.model.jobs[job.key].asked_to_end}
        assert attention == asked
        snapshot = self.compare("renew")
        for job in jobs:
            self.model.jobs[job.key].overdue = False
            assert snapshot.holder(job.key) == worker, "a heartbeat did not keep the lease"

    async def _renew(self, jobs: list[ClaimedJob], worker: str) -> dict[str, str]:
        """The heartbeat tries again until somebody has made the groups anew."""
        for _ in range(2 * len(ALL_LANES)):
            try:
                return await self.queue.renew(*jobs, worker=worker)
            except GroupMissing:
                await self.queue.broker.prepare(QUEUE, again=True)
        raise AssertionError("heartbeats do not come through")

    @HELD
    @rule(number=NUMBER, again=st.booleans())
    def report(self, number: int, again: bool) -> None:
        job, attempt = self.held(number)
        events = self.run(self.count_events(job.key))
        self.last_report += 1
        for _ in range(1 + again):
            self.call("report", self.queue.report(says(attempt.job, self.last_report, "words", 0.5)))
        assert self.run(self.count_events(job.key)) == events + 1

    async def count_events(self, key: str) -> int:
        kind = await self.queue.redis.type(self.queue.keys.events(key))
        return int(await self.queue.redis.xlen(self.queue.keys.events(key))) if kind == b"stream" else 0

    @rule(worker=WORKER)
    def recall(self, worker: str) -> None:
        """A claim of this worker was not answered; what it knows of stays its own."""
        known = [attempt.job.key for attempt in self.model.held_by(worker)]
        kept = {key: job.attempt for key, job in self.model.jobs.items() if job.attempt}
        self.call("recall", recover.recall(self.queue.broker, QUEUE, worker, known))
        for key, attempt in kept.items():
            assert self.model.jobs[key].attempt is attempt, "a job was recalled from a worker that knows of it"

    @HELD
    @rule(number=NUMBER, how=st.sampled_from([*sorted(HOW), "wait", "lose", "recall"]))
    def cancel_and_settle(self, number: int, how: str) -> None:
        """A job that was asked to end is not run again, however its attempt is over."""
        job, attempt = self.held(number)
        (state,) = self.call("cancel", self.queue.cancel(job.key))
        assert state is State.RUNNING
        job.asked_to_end = True
        if how in HOW:
            self.settle(number, how, again=False)
        elif how == "wait":
            self.wait(number, limited=False)
        else:
            self.model.forget_attempt(job)
            self.give_up(attempt.worker, how)

    def give_up(self, worker: str, how: str) -> None:
        """What the worker does not know of goes back, by its own recall or when the lease is over."""
        if how == "recall":
            self.recall(worker)

    @rule(worker=WORKER, slots=st.integers(1, 3))
    def claim_unheard(self, worker: str, slots: int) -> None:
        """The answer to a claim is lost, and the worker asks for all back of which it does not know."""
        self.claim(worker, slots, heard=False)
        self.recall(worker)

    @HELD
    @rule(number=NUMBER)
    def die(self, number: int) -> None:
        """A worker is gone, or frozen, or cut off: it may be back, as a zombie."""
        worker = self.held(number)[1].worker
        for attempt in self.model.held_by(worker):
            self.model.forget_attempt(self.model.jobs[attempt.job.key])

    @rule(worker=WORKER)
    def leave(self, worker: str) -> None:
        """A worker that has nothing to do stops."""
        if not self.model.held_by(worker):
            self.call("leave", recover.leave(self.queue.broker, QUEUE, worker))

    @precondition(lambda self: self.model.past)
    @rule(number=NUMBER)
    def zombie(self, number: int) -> None:
        """I3: a worker whose attempt is over writes in every way, most of all while another one runs the job."""
        running = {job.key for job in self.model.in_state(State.RUNNING)}
        candidates = [old for old in self.model.past if self._is_stale(old)]
        tempting = [old for old in candidates if old.job.key in running] or candidates
        if not tempting:
            return
        old = tempting[number % len(tempting)]
        key = old.job.key
        before = self.run(self.queue.redis.dump(self.queue.keys.job(key))), self.run(self.count_events(key))
        for script, settlement, _ in HOW.values():
            refused = self.run(self.queue.settle(settlement(old.job)))
            self.compare("")
            self.model.calls[script] += 1
            assert refused in ([], [Refusal(key, "stale")], [Refusal(key, "gone")])
        assert self.call("", self.queue.renew(old.job, worker="zombie")) == {key: "lost"}
        self.call("", self.queue.report(says(old.job, 9_999, "boo")))
        assert self.call("", self.queue.wait(old.job))[1] in (b"done", b"stale", b"gone")
        after = self.run(self.queue.redis.dump(self.queue.keys.job(key))), self.run(self.count_events(key))
        assert after == before, "a stale fence wrote"

    def _is_stale(self, old: Attempt) -> bool:
        """A worker that has died may be the last that the broker knows of: its fence holds as long as its lease."""
        job = self.model.jobs.get(old.job.key)
        return not job or job.state is not State.RUNNING or job.fence != str(old.job.fence).encode()

    @HELD
    @rule(number=NUMBER, first=st.sampled_from(["defer", "retry"]), last=WAYS)
    def try_twice(self, number: int, first: str, last: str) -> None:
        """Two attempts, whatever else is going on."""
        job, attempt = self.held(number)
        if job.attempts < MAX_ATTEMPTS and not job.damaged:
            self.settle(number, first, again=False)
            if job.state is State.DELAYED:
                self.run(self.queue.ripen(job.key))
                self.call("promote", self.queue.promote())
                self.claim(attempt.worker, 3 * JOBS)
            if job.attempt:
                self.settle(number, last, again=True)
