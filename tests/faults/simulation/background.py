"""Rules: what workers do in the background: leases run out, time passes, the janitor audits."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from taskserver.domain.job import State
from taskserver.store.keys import GROUP
from taskserver.store.maintenance import audit
from taskserver.store.maintenance.damage import Damage
from tests.faults.simulation.base import JOBS, NUMBER, WORKER, WORKERS, where_a_job_is
from tests.faults.simulation.model import Job
from tests.faults.simulation.snapshot import ALL_LANES, LAST_ID
from tests.faults.simulation.workers import Workers
from tests.store.harness import LONG_MS, QUEUE


class Background(Workers):
    """Reclaiming, promoting, expiring, auditing."""

    @rule(worker=WORKER)
    def stop_heartbeats(self, worker: str) -> None:
        """More than a lease passes, in which all workers but this one renew what they run."""
        self.run(self._age_leases())
        self.run(self.queue.redis.unlink(self.queue.keys.worker(worker)))
        for job in self.model.in_state(State.RUNNING):
            job.overdue = True
        for other in WORKERS:
            if other != worker and self.model.held_by(other):
                self.beat(other)

    async def _age_leases(self) -> None:
        for lane in ALL_LANES:
            key = self.queue.keys.lane(lane)
            try:
                pending = await self.queue.redis.xpending_range(key, GROUP, "-", "+", 1_000)
            except Exception:  # there is no such group, or the key is not a stream: nothing to age
                continue
            for item in pending:
                await self.queue.redis.xclaim(
                    key, GROUP, item["consumer"], 0, [item["message_id"]], idle=3 * LONG_MS, justid=True
                )

    def give_up(self, worker: str, how: str) -> None:
        super().give_up(worker, how)
        if how == "lose":
            self.stop_heartbeats(worker)
            self.reclaim()

    @rule()
    def reclaim(self) -> None:
        """Only leases that were not renewed are lost."""
        running = self.model.in_state(State.RUNNING)
        alive = [worker for worker in WORKERS if self.run(self.queue.redis.exists(self.queue.keys.worker(worker)))]
        lost = self.call("reclaim", self.queue.reclaim(*alive, lease_ms=2 * LONG_MS))
        for job in running:
            if job.state is not State.RUNNING:
                assert job.overdue, "a job was taken from a worker that renewed its lease"
        assert all(self.model.jobs[key].state is State.QUEUED for key in lost)

    @where_a_job_is(State.DELAYED)
    @rule(number=NUMBER)
    def promote(self, number: int) -> None:
        job = self.pick(number, State.DELAYED)
        listed = job.key in self.snapshot().delayed
        if listed:
            self.run(self.queue.ripen(job.key))
        self.call("promote", self.queue.promote())
        assert not listed or job.state is State.QUEUED

    @where_a_job_is(State.QUEUED, State.DELAYED, State.WAITING)
    @rule(number=NUMBER)
    def expire(self, number: int) -> None:
        """The time within which the job must have started is over."""
        job = self.pick(number, State.QUEUED, State.DELAYED, State.WAITING)
        listed = job.key in self.snapshot().expiring
        if listed:
            self.outdate(job)
        self.call("expire", self.queue.expire())
        assert not listed or job.state is State.EXPIRED

    def outdate(self, job: Job) -> None:
        self.run(self.queue.outdate(job.key))
        job.outdated = True

    @where_a_job_is(State.QUEUED)
    @rule(number=NUMBER, worker=WORKER)
    def claim_too_late(self, number: int, worker: str) -> None:
        """The time is over, and a worker is faster than the scheduler."""
        job = self.pick(number, State.QUEUED)
        if not job.damaged and b"expires" in (self.snapshot().records[job.key] or {}):
            self.outdate(job)
        self.claim(worker, 3 * JOBS)

    @precondition(lambda self: self.model.jobs)
    @rule(worker=WORKER, thorough=st.booleans())
    def audit(self, worker: str, thorough: bool) -> None:
        """The janitor audits the queue, and everything is where it belongs, whatever was before.

        What it replaces on its way may belong to a job that it has checked already; the second audit finds that.
        """
        self.call("take_turn", audit.take_turn(self.queue.broker, QUEUE, worker, LONG_MS))
        for _ in range(1 + self.model.disturbed):
            self.audit_once(thorough)
        self.run(audit.remove_gone_workers(self.queue.broker, QUEUE))
        self.model.disturbed = self.run(self._is_full())
        self.compare("remove_worker")

    async def _is_full(self) -> bool:
        """Whether a stream accepts no more entries: the next one recreates it, and those that it has are lost."""
        streams = [await self.queue.redis.xinfo_stream(self.queue.keys.lane(lane)) for lane in ALL_LANES]
        return any(stream["last-generated-id"] == LAST_ID.encode() for stream in streams)

    def audit_once(self, thorough: bool) -> None:
        repaired = self.run(self._repair(thorough))
        disturbed, self.model.disturbed = self.model.disturbed, True  # it may take a second audit
        self.compare("repair_jobs")
        self.model.disturbed = disturbed
        assert disturbed or repaired == [], "the janitor repaired what was sound"
        for key in repaired:
            if key in self.model.jobs:
                self.model.jobs[key].overdue = False  # another lease has begun

    async def _repair(self, thorough: bool) -> list[str]:
        steps = [step async for step in audit.audit_queue(self.queue.broker, QUEUE, repair=True, thorough=thorough)]
        return [found.name for step in steps for found in step.found if found.damage is Damage.STRANDED]

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER, worker=WORKER)
    def freeze_and_thaw(self, number: int, worker: str) -> None:
        """A worker sleeps past its lease, another one begins its jobs, and it wakes up and writes."""
        self.stop_heartbeats(worker)
        for attempt in self.model.held_by(worker):
            self.model.forget_attempt(self.model.jobs[attempt.job.key])
        self.reclaim()
        self.claim(WORKERS[(WORKERS.index(worker) + 1) % len(WORKERS)], 3 * JOBS)
        if self.model.past:
            self.zombie(number)
