"""Rules: what clients and people do to jobs."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from taskserver.domain.job import NewJob, State
from taskserver.domain.lanes import LANES
from taskserver.store.jobs import admin
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries.outcomes import read_outcomes
from taskserver.store.replies import decode
from tests.faults.simulation.base import ENDED, JOBS, NUMBER, where_a_job_is
from tests.faults.simulation.model import MAX_ATTEMPTS, Job
from tests.faults.simulation.workers import Workers
from tests.store.harness import LONG_MS, QUEUE, new_job, submit_all

CLIENT = st.integers(0, 1)


class Clients(Workers):
    """Submitting, cancelling, answering, running again, emptying."""

    @precondition(lambda self: len(self.model.jobs) < JOBS)
    @rule(client=CLIENT, lane=st.sampled_from(LANES), delayed=st.booleans(), hurried=st.booleans())
    def submit(self, client: int, lane: str, delayed: bool, hurried: bool = False) -> None:
        options = {"lane": lane, "max_attempts": MAX_ATTEMPTS, "delay_ms": LONG_MS * delayed}
        self._submit(client, new_job(**options, expires_ms=LONG_MS * hurried))

    def _submit(self, client: int, new: NewJob) -> None:
        known = new.key in self.model.jobs and self.model.jobs[new.key].state is not None
        self.model.jobs.setdefault(new.key, Job(new.key))
        answer = self.call("submit", submit_all(self.clients[client].broker, QUEUE, [new]))
        assert not known or answer == {new.key}
        if not answer:
            self.model.jobs[new.key].message_lost = self.model.jobs[new.key].outdated = False

    @precondition(lambda self: self.model.jobs)
    @rule(client=CLIENT, number=NUMBER)
    def submit_again(self, client: int, number: int) -> None:
        """The answer to a submit was lost, or another client has the same idempotency key."""
        self._submit(client, replace(new_job(max_attempts=MAX_ATTEMPTS), key=self.pick(number).key))

    @precondition(lambda self: self.model.jobs)
    @rule(client=CLIENT, number=NUMBER)
    def cancel(self, client: int, number: int) -> None:
        job = self.pick(number)
        (state,) = self.call("cancel", self.clients[client].cancel(job.key))
        assert state is job.state
        assert state is None or state is State.RUNNING or state.ended
        job.asked_to_end = job.asked_to_end or state is State.RUNNING

    @where_a_job_is(*ENDED)
    @rule(client=CLIENT, number=NUMBER)
    def requeue(self, client: int, number: int) -> None:
        job = self.pick(number, *ENDED)
        (answer,) = self.call("requeue", self.clients[client].requeue(job.key))
        assert answer == ("" if job.state is State.QUEUED else "gone")
        assert answer == "" or job.message_lost
        job.outdated = job.outdated and answer != ""
        assert self.call("requeue", self.clients[client].requeue(job.key)) == [answer or "queued"]

    @where_a_job_is(State.QUEUED, State.DELAYED)
    @precondition(lambda self: len(self.model.in_state(State.QUEUED, State.DELAYED)) > 1)
    @rule()
    def purge(self) -> None:
        """Jobs whose entry a worker has read are that worker's to begin."""
        before = self.snapshot()
        held = [job.key for job in self.model.in_state(State.QUEUED) if before.is_read(job.key)]
        self.call("purge", admin.purge(self.queue.broker, QUEUE))
        for key in held:
            assert self.model.jobs[key].state is State.QUEUED, "what a worker is about to begin was purged"

    @where_a_job_is(State.WAITING)
    @rule(client=CLIENT, number=NUMBER, again=st.booleans())
    def answer(self, client: int, number: int, again: bool) -> None:
        """The first answer counts."""
        job = self.pick(number, State.WAITING)
        assert self.call("answer", self.clients[client].answer(job.key, b"first")) == []
        job.outdated = False
        if again:
            assert self.call("answer", self.clients[1 - client].answer(job.key, b"second")) != []
        assert self.run(self.queue.field(job.key, "answer")) == b"first"

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER)
    def answer_what_nobody_asked(self, number: int) -> None:
        job = self.pick(number)
        if job.state is not State.WAITING:
            refused = self.call("answer", self.queue.answer(job.key))
            assert refused == [job.key.encode(), (job.state or "").encode()]

    @where_a_job_is(State.DEAD)
    @rule(number=NUMBER)
    def delete_dead(self, number: int) -> None:
        """Of all jobs, only dead letters are deleted."""
        dead = self.pick(number, State.DEAD)
        assert self.run(admin.delete_dead(self.queue.broker, QUEUE, list(self.model.jobs))) >= 1
        for job in self.model.in_state(State.DEAD):
            assert not self.run(self.queue.record(job.key))
            del self.model.jobs[job.key]
        assert dead.key not in self.model.jobs
        self.compare("delete_dead")

    @precondition(lambda self: self.model.jobs)
    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.call("prepare", self.queue.broker.prepare(QUEUE, again=True))
        self.call("remove_worker", self.queue.broker.run("remove_worker", QUEUE))
        self.call("", (admin.pause if paused else admin.resume)(self.queue.broker, QUEUE))
        self.model.paused = paused
        self.claim("w1", JOBS)

    @precondition(lambda self: self.model.jobs)
    @rule()
    def look_at_everything(self) -> None:
        """No record, however damaged, hides the others."""
        keys = list(self.model.jobs)
        outcomes = self.call("outcomes", read_outcomes(self.queue.broker, QUEUE, keys))
        statuses = self.call("", job_queries.statuses(self.queue.broker, QUEUE, keys))
        for key, outcome, status in zip(keys, outcomes, statuses, strict=True):
            state = self.model.jobs[key].state
            assert (outcome and outcome.state) is state, decode(key.encode())
            assert (status and status.state) is state
