"""Everything that can happen to jobs, in any order, on a real server, against a small model.

Workers claim, renew, report, settle and die; zombies write with old fences; answers are lost and calls repeated;
somebody deletes entries, forges others, destroys the groups and flushes the scripts. After every step the model and
the broker must agree on every job, and at the end every job must still be able to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.settlement import Defer, Refusal, Settlement
from taskserver.store import recovering, steering
from taskserver.store.claiming import Entry
from taskserver.store.connection import Broker
from taskserver.store.keys import GROUP
from taskserver.store.replies import text
from tests.store.harness import (
    LARGE_ERROR,
    LARGE_RESULT,
    LONG_MS,
    QUEUE,
    SMALL_ERROR,
    SMALL_RESULT,
    Queue,
    fail,
    release,
    retry,
    says,
    succeed,
)

WORKERS = ("w1", "w2", "w3")
MAX_ATTEMPTS = 3
JOBS = 6
NUMBER = st.integers(0, 7)

HOW = {
    "succeed": (succeed, State.SUCCEEDED),
    "succeed largely": (lambda job: succeed(job, LARGE_RESULT), State.SUCCEEDED),
    "fail": (lambda job: fail(job, State.FAILED), State.FAILED),
    "die": (lambda job: fail(job, State.DEAD, LARGE_ERROR), State.DEAD),
    "retry": (lambda job: retry(job, SMALL_ERROR, LONG_MS), State.DELAYED),
    "release": (release, State.QUEUED),
    "defer": (lambda job: Defer(job.key, job.fence, LARGE_ERROR), State.DELAYED),
}


class Job:
    """What the model knows of a job."""

    def __init__(self, key: str, state: State) -> None:
        self.key = key
        self.state = state
        self.fence = 0
        self.attempts = 0
        self.holder: ClaimedJob | None = None
        self.worker = ""
        self.asked_to_end = False
        self.without_entry = False

    def leave(self, state: State, *, unspent: bool = False) -> None:
        """The running attempt is over."""
        self.state = State.CANCELLED if self.asked_to_end and not state.ended else state
        self.attempts -= unspent
        self.holder = None
        self.asked_to_end = self.without_entry = False


def where_a_job_is(*states: State) -> Any:
    """The rule means nothing unless a job is in one of these states."""
    return precondition(lambda self: self.in_state(*states))


class Simulation(RuleBasedStateMachine):
    """One queue, three workers, any number of jobs."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.jobs: list[Job] = []
        self.stale: list[ClaimedJob] = []
        self.unbegun: list[tuple[str, Entry]] = []
        self.queue = Queue(self.run(self._broker()))

    async def _broker(self) -> Broker:
        broker = Broker(self.url)
        await broker.client(broker.url).flushall()
        await broker.prepare(QUEUE)
        return broker

    async def _lease_holder(self, key: str) -> str:
        lane, id_ = await self.queue.entry(key)
        (pending,) = await self.queue.redis.xpending_range(self.queue.keys.lane(lane), GROUP, id_, id_, 1)
        return str(pending["consumer"].decode())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def in_state(self, *states: State) -> list[Job]:
        return [job for job in self.jobs if job.state in states]

    def pick(self, number: int, *states: State) -> Job | None:
        found = self.in_state(*states)
        return found[number % len(found)] if found else None

    # Producers and people

    @initialize()
    def begin_with_work(self) -> None:
        for lane in LANES:
            self.submit(lane, delayed=False)
        self.claim("w1", 2)

    @precondition(lambda self: len(self.jobs) < JOBS)
    @rule(lane=st.sampled_from(LANES), delayed=st.booleans())
    def submit(self, lane: str, delayed: bool) -> None:
        options = {"lane": lane, "max_attempts": MAX_ATTEMPTS, "delay_ms": LONG_MS * delayed, "expires_ms": LONG_MS}
        key = self.run(self.queue.submit(**options))
        self.jobs.append(Job(key, State.DELAYED if delayed else State.QUEUED))

    @precondition(lambda self: self.jobs)
    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        job = self.jobs[number % len(self.jobs)]
        (state,) = self.run(self.queue.cancel(job.key))
        if job.state is State.RUNNING:
            job.asked_to_end = True
        elif not job.state.ended:
            job.leave(State.CANCELLED)
        assert state is job.state

    @where_a_job_is(*(state for state in State if state.ended))
    @rule(number=NUMBER)
    def requeue(self, number: int) -> None:
        if job := self.pick(number, *(state for state in State if state.ended)):
            assert self.run(self.queue.requeue(job.key)) == [""]
            assert self.run(self.queue.requeue(job.key)) == ["queued"]
            job.state, job.attempts, job.fence = State.QUEUED, 0, job.fence + 1

    @precondition(lambda self: len(self.in_state(State.QUEUED, State.DELAYED)) > 2)
    @rule()
    def purge(self) -> None:
        """Jobs whose entry a worker has read are that worker's to begin."""
        read = {entry.key for _, entry in self.unbegun} if self.unbegun else set()
        self.run(steering.purge(self.queue.broker, QUEUE))
        for job in self.in_state(State.QUEUED, State.DELAYED):
            if job.key not in read or self.run(self.queue.state(job.key)) is State.CANCELLED:
                job.leave(State.CANCELLED)

    # Workers

    @rule(worker=st.sampled_from(WORKERS))
    def read(self, worker: str) -> None:
        """A blocking read brings entries; whether the worker lives to begin them will be seen."""
        streams = {self.queue.keys.lane(lane): ">" for lane in (RETURNED, *LANES)}
        answer = self.run(self.queue.redis.xreadgroup(GROUP, worker, streams, count=1))
        for lane, entries in answer:
            for id_, fields in entries:
                name = lane.decode().rpartition(":")[2]
                self.unbegun.append((worker, Entry(name, id_.decode(), text(fields.get(b"job", b"")))))

    @where_a_job_is(State.QUEUED)
    @rule(worker=st.sampled_from(WORKERS))
    def fill_up(self, worker: str) -> None:
        """A worker with room for all."""
        self.claim(worker, 2 * JOBS)

    @where_a_job_is(State.QUEUED, State.RUNNING)
    @rule(worker=st.sampled_from(WORKERS), slots=st.integers(0, 3))
    def claim(self, worker: str, slots: int) -> None:
        entries = [entry for reader, entry in self.unbegun if reader == worker]
        self.unbegun = [(reader, entry) for reader, entry in self.unbegun if reader != worker]
        for claimed in self.run(self.queue.claim(slots, worker, entries=entries)):
            (job,) = (job for job in self.jobs if job.key == claimed.key)
            assert job.state is State.QUEUED, "a job that is not queued was begun"
            job.attempts += 1
            assert (claimed.attempt, claimed.fence > job.fence) == (job.attempts, True)
            job.state, job.fence, job.holder, job.worker = State.RUNNING, claimed.fence, claimed, worker
            assert self.run(self._lease_holder(job.key)) == worker
        for job in self.in_state(State.QUEUED):
            if job.attempts >= MAX_ATTEMPTS and self.run(self.queue.state(job.key)) is State.DEAD:
                job.state = State.DEAD

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER, how=st.sampled_from(sorted(HOW)), again=st.booleans())
    def settle(self, number: int, how: str, again: bool) -> None:
        if job := self.pick(number, State.RUNNING):
            settlement, state = HOW[how]
            assert job.holder is not None
            self.stale.append(job.holder)
            for _ in range(1 + again):  # its answer was lost
                assert self.run(self.queue.settle(settlement(job.holder))) == []
            if state is State.SUCCEEDED:
                data = LARGE_RESULT if how == "succeed largely" else SMALL_RESULT
                assert self.run(self.queue.outcome(job.key)) == (state, data)
            job.leave(state, unspent=how in ("release", "defer"))

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER)
    def wait(self, number: int) -> None:
        if job := self.pick(number, State.RUNNING):
            assert job.holder is not None
            self.stale.append(job.holder)
            assert self.run(self.queue.wait(job.holder)) == []
            unspent = not job.asked_to_end
            job.leave(State.WAITING, unspent=unspent)

    @where_a_job_is(State.WAITING)
    @rule(number=NUMBER)
    def answer(self, number: int) -> None:
        if job := self.pick(number, State.WAITING):
            assert self.run(self.queue.answer(job.key)) == []
            job.state = State.QUEUED

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER)
    def renew(self, number: int) -> None:
        if job := self.pick(number, State.RUNNING):
            assert job.holder is not None
            expected = {job.key: "cancel"} if job.asked_to_end else {}
            assert self.run(self.queue.renew(job.holder, worker=job.worker)) == expected
            job.without_entry = False

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER)
    def report(self, number: int) -> None:
        if job := self.pick(number, State.RUNNING):
            assert job.holder is not None
            self.run(self.queue.report(says(job.holder, 1, "words", 0.5)))

    @where_a_job_is(State.RUNNING)
    @rule()
    def reclaim(self) -> None:
        """No lease was renewed in time."""
        lost = self.run(self.queue.reclaim())
        for job in self.in_state(State.RUNNING):
            if job.key in lost or (job.asked_to_end and self.run(self.queue.state(job.key)) is State.CANCELLED):
                assert job.holder is not None
                self.stale.append(job.holder)
                job.fence += 1
                job.leave(State.QUEUED)

    @rule()
    def sweep_in_vain(self) -> None:
        assert self.run(self.queue.reclaim(lease_ms=LONG_MS)) == {}

    @where_a_job_is(State.RUNNING)
    @rule(worker=st.sampled_from(WORKERS), number=NUMBER)
    def recall(self, worker: str, number: int) -> None:
        """A claim of this worker was not answered; it knows only some of what it runs."""
        mine = [job.key for job in self.in_state(State.RUNNING) if job.worker == worker]
        known = mine[: number % (len(mine) + 1)]
        self.run(recovering.recall(self.queue.broker, QUEUE, worker, known))
        for job in self.in_state(State.RUNNING):
            if self.run(self.queue.state(job.key)) is not State.RUNNING:
                assert job.worker == worker
                assert job.key not in known
                assert job.holder is not None
                self.stale.append(job.holder)
                job.fence += 1
                job.leave(State.QUEUED, unspent=True)

    @where_a_job_is(State.DELAYED)
    @rule(number=NUMBER)
    def promote(self, number: int) -> None:
        if job := self.pick(number, State.DELAYED):
            self.run(self.queue.ripen(job.key))
            assert self.run(self.queue.promote()) == 1
            job.state = State.QUEUED

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER, first=st.sampled_from(["defer", "retry"]), last=st.sampled_from(sorted(HOW)))
    def try_twice(self, number: int, first: str, last: str) -> None:
        self.settle(number, first, again=False)
        self.promote(number)
        self.claim("w1", 2 * JOBS)
        if self.in_state(State.RUNNING):
            self.settle(number, last, again=True)

    # Trouble

    @where_a_job_is(State.QUEUED)
    @rule(number=NUMBER, worker=st.sampled_from(WORKERS))
    def begin_by_a_forged_entry(self, number: int, worker: str) -> None:
        """The forged entry of a queued job is read before its own."""
        job = self.pick(number, State.QUEUED)
        assert job is not None
        self.run(self.queue.redis.xadd(self.queue.keys.lane(RETURNED), {"job": job.key}))
        self.claim(worker, 2 * JOBS)

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER, how=st.sampled_from(sorted(HOW)))
    def freeze_and_thaw(self, number: int, how: str) -> None:
        """A worker sleeps past its lease, another one begins its jobs, and it wakes up and writes."""
        self.reclaim()
        self.claim("w3", 2 * JOBS)
        if self.stale:
            self.zombie(number, how)

    @where_a_job_is(State.RUNNING)
    @rule(worker=st.sampled_from(WORKERS))
    def lose_the_groups(self, worker: str) -> None:
        """A worker reads the entries of running jobs once more, from groups that were made anew."""
        self.destroy_groups()
        self.read(worker)
        self.claim(worker, 2)

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER)
    def mend(self, number: int) -> None:
        """An entry is deleted, and the next heartbeat notices."""
        self.delete_entry(number)
        self.renew(number)

    @precondition(lambda self: self.stale)
    @rule(number=NUMBER, how=st.sampled_from(sorted(HOW)))
    def zombie(self, number: int, how: str) -> None:
        """A worker whose attempt is over writes all the same, most of all while another one runs the job."""
        running = {job.key for job in self.in_state(State.RUNNING)}
        tempting = [old for old in self.stale if old.key in running] or self.stale
        old = tempting[number % len(tempting)]
        settlement: Settlement = HOW[how][0](old)
        before = self.run(self.queue.record(old.key))
        refused = self.run(self.queue.settle(settlement))
        assert refused in ([], [Refusal(old.key, "stale")])
        assert self.run(self.queue.renew(old)) == {old.key: "lost"}
        self.run(self.queue.report(says(old, 99, "boo")))
        assert self.run(self.queue.wait(old))[1] in (b"done", b"stale")
        assert self.run(self.queue.record(old.key)) == before, "a stale fence wrote"

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER)
    def delete_entry(self, number: int) -> None:
        job = self.pick(number, State.RUNNING)
        if job and not job.without_entry and self.run(self.queue.entry_exists(job.key)):
            self.run(self.queue.delete_entry(job.key))
            job.without_entry = True

    @precondition(lambda self: self.jobs)
    @rule(number=NUMBER, lane=st.sampled_from((RETURNED, *LANES)))
    def forge_entry(self, number: int, lane: str) -> None:
        fields = {"job": self.jobs[number % len(self.jobs)].key}
        self.run(self.queue.redis.xadd(self.queue.keys.lane(lane), fields))

    @rule(
        lane=st.sampled_from((RETURNED, *LANES)), name=st.sampled_from([b"job", b"\xff"]), value=st.binary(max_size=9)
    )
    def throw_garbage(self, lane: str, name: bytes, value: bytes) -> None:
        self.run(self.queue.redis.xadd(self.queue.keys.lane(lane), {name: value}))

    @rule()
    def destroy_groups(self) -> None:
        self.run(self.queue.destroy_groups())
        self.run(self.queue.broker.prepare(QUEUE, again=True))

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.queue.redis.script_flush())

    # What must hold

    @invariant()
    def model_and_broker_agree(self) -> None:
        for job in self.jobs:
            record = self.run(self.queue.record(job.key))
            assert record[b"state"].decode() == job.state.value
            assert int(record.get(b"fence", 0)) == job.fence
            if job.state in (State.QUEUED, State.RUNNING) and not job.without_entry:
                assert self.run(self.queue.entry_exists(job.key)), f"a {job.state} job without an entry"

    def teardown(self) -> None:
        """Workers that are alive run everything to its end, and nothing is left over."""
        try:
            self._drain()
        finally:
            self.run(self.queue.broker.close())
            self.runner.close()

    def _drain(self) -> None:
        for job in self.in_state(State.RUNNING):
            assert job.holder is not None
            self.run(self.queue.renew(job.holder, worker=job.worker))
        self.run(self.queue.cancel(*(job.key for job in self.in_state(State.DELAYED, State.WAITING))))
        for _ in range(10):
            self.run(self.queue.reclaim())
            self.run(self.queue.settle(*map(succeed, self.run(self.queue.claim(slots=50)))))
        for job in self.jobs:
            assert self.run(self.queue.state(job.key)).ended, "a job that nothing brings to its end"
        assert self.run(self.queue.entries()) == self.run(self.queue.pending()) == 0


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_whatever_happens_in_whatever_order(broker_url: str) -> None:
    machine = type("Simulation", (Simulation,), {"url": broker_url})
    profile = settings(
        max_examples=60,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        print_blob=True,
        database=None,
        phases=(Phase.generate,),  # steps to the first failure are few enough; shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)
