"""Rules: what somebody does to the broker by hand, by mistake or by an old backup."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from taskserver.domain.job import State
from taskserver.domain.lanes import RETURNED
from taskserver.store.keys import GROUP
from tests.faults.simulation.background import Background
from tests.faults.simulation.base import ENDED, JOBS, NUMBER, WORKER, WORKERS, where_a_job_is
from tests.faults.simulation.clients import Clients
from tests.faults.simulation.snapshot import ALL_LANES, LAST_ID
from tests.store.harness import QUEUE, succeed

LANE = st.sampled_from(ALL_LANES)
STRUCTURES = ("delayed", "expiring", "dead", "meta", "sweeper", "janitor")
NUMBERS = ("attempt", "fence", "max", "ttl", "expires", "due", "unknown")
FIELDS = (*NUMBERS, "entry", "lane", "said", "worker", "history", "progress", "state")
NO_NUMBERS = st.sampled_from([b"", b"x", b"-1", b"nan", b"1e400", b"99999999999999999999", b"\xff"])
NO_ENTRIES = st.sampled_from([b"x", b"returned/0-1", b"high/99999999999999999999-1", b"normal/", b"elsewhere/1-1"])


class Tampering(Clients, Background):
    """Deleting, trimming, overwriting, forging, rewinding."""

    def key_of(self, lane: str) -> str:
        return self.queue.keys.lane(lane)

    def tamper(self, *commands: Any) -> None:
        """Commands by hand, whatever the broker says to them; wake-up calls may be lost by them."""
        self.run(self._try(commands))
        self.model.disturbed = True
        self.compare()

    async def _try(self, commands: tuple[Any, ...]) -> None:
        async with self.queue.redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            await pipe.execute(raise_on_error=False)

    # Streams and groups

    @where_a_job_is(State.QUEUED, State.RUNNING)
    @rule(number=NUMBER)
    def delete_an_entry(self, number: int) -> None:
        lane, id_ = self.run(self.queue.entry(self.pick(number, State.QUEUED, State.RUNNING).key))
        self.tamper(("XDEL", self.key_of(lane), id_))

    @where_a_job_is(State.QUEUED, State.RUNNING)
    @rule(number=NUMBER)
    def acknowledge_an_entry(self, number: int) -> None:
        lane, id_ = self.run(self.queue.entry(self.pick(number, State.QUEUED, State.RUNNING).key))
        self.tamper(("XACK", self.key_of(lane), GROUP, id_))

    @rule(lane=LANE, length=st.integers(0, 2))
    def trim_a_lane(self, lane: str, length: int) -> None:
        self.tamper(("XTRIM", self.key_of(lane), "MAXLEN", length))

    @rule(lane=LANE)
    def delete_a_lane(self, lane: str) -> None:
        self.tamper(("UNLINK", self.key_of(lane)))

    @rule(lane=LANE)
    def destroy_a_group(self, lane: str) -> None:
        self.tamper(("XGROUP", "DESTROY", self.key_of(lane), GROUP))

    @rule(lane=LANE, where=st.sampled_from(["0", "$"]))
    def move_a_group(self, lane: str, where: str) -> None:
        """Entries are delivered again, or skipped."""
        self.tamper(("XGROUP", "SETID", self.key_of(lane), GROUP, where))

    @rule(lane=LANE, worker=st.sampled_from((*WORKERS, "sweeper")))
    def delete_a_consumer(self, lane: str, worker: str) -> None:
        """What was pending for it is pending for nobody."""
        self.tamper(("XGROUP", "DELCONSUMER", self.key_of(lane), GROUP, worker))

    @rule(lane=LANE)
    def back_up_a_lane(self, lane: str) -> None:
        self.backups[lane] = self.run(self.queue.redis.dump(self.key_of(lane)))

    @precondition(lambda self: any(self.backups.values()))
    @rule(number=NUMBER)
    def restore_a_lane(self, number: int) -> None:
        """Old entries and old leases are back."""
        kept = sorted(lane for lane, dump in self.backups.items() if dump)
        lane = kept[number % len(kept)]
        for job in self.model.in_state(State.RUNNING):
            job.overdue = True
        self.tamper(("RESTORE", self.key_of(lane), 0, self.backups[lane], "REPLACE"))

    @where_a_job_is(State.QUEUED, State.RUNNING)
    @rule(number=NUMBER, worker=WORKER, way=st.sampled_from(["claim", "reclaim", "recall"]))
    def bring_back_what_has_ended(self, number: int, worker: str, way: str) -> None:
        """A job's entry comes back from a backup when the job has ended, or waits."""
        job = self.pick(number, State.QUEUED, State.RUNNING)
        lane, _ = self.run(self.queue.entry(job.key))
        self.backups[lane] = self.run(self.queue.redis.dump(self.key_of(lane)))
        if lane not in ALL_LANES or not self.backups[lane]:
            return
        if job.state is State.RUNNING and job.attempt:
            self.call("finish", self.queue.settle(succeed(job.attempt.job)))
        else:
            self.call("cancel", self.queue.cancel(job.key))
            job.asked_to_end = job.state is State.RUNNING
        self.restore_a_lane(sorted(lane for lane, dump in self.backups.items() if dump).index(lane))
        self.act(way, worker)

    def act(self, way: str, worker: str) -> None:
        if way == "claim":
            self.claim(worker, 3 * JOBS)
        elif way == "recall":
            self.recall(worker)
        else:
            self.stop_heartbeats(worker)
            self.reclaim()

    @where_a_job_is(State.RUNNING)
    @rule(worker=WORKER)
    def lose_the_groups(self, worker: str) -> None:
        """A worker reads the entries of running jobs once more, from groups that were recreated."""
        self.tamper(*(("XGROUP", "DESTROY", self.key_of(lane), GROUP) for lane in ALL_LANES))
        self.read(worker)
        self.claim(worker, 2)

    # Forged entries

    def forge(self, lane: str, fields: dict[Any, Any], id_: str = "*") -> None:
        disturbed = self.model.disturbed
        flat = [part for pair in fields.items() for part in pair]
        self.tamper(("XADD", self.key_of(lane), id_, *flat))
        self.model.disturbed = disturbed  # nothing is lost by it

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER, lane=LANE)
    def forge_an_entry(self, number: int, lane: str) -> None:
        self.forge(lane, {"job": self.pick(number).key})

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER, lane=LANE)
    def forge_the_id_of_an_entry(self, number: int, lane: str) -> None:
        """The id of a job's live entry, under another lane."""
        job = self.pick(number)
        listed, id_ = self.run(self.queue.entry(job.key)) if job.state else ("", "")
        if listed and listed != lane:
            self.forge(lane, {"job": job.key}, id_)

    @rule(lane=LANE, name=st.sampled_from([b"job", b"\xff"]), value=st.binary(max_size=9))
    def throw_garbage(self, lane: str, name: bytes, value: bytes) -> None:
        self.forge(lane, {name: value})

    @rule(lane=LANE)
    def write_the_last_id(self, lane: str) -> None:
        """After it, the server adds no more entries to this stream."""
        self.tamper(("XADD", self.key_of(lane), LAST_ID, "job", "last"))

    @where_a_job_is(State.QUEUED)
    @rule(number=NUMBER, worker=WORKER)
    def begin_by_a_forged_entry(self, number: int, worker: str) -> None:
        """The forged entry of a queued job is read before its own."""
        self.forge(RETURNED, {"job": self.pick(number, State.QUEUED).key})
        self.claim(worker, 3 * JOBS)

    @where_a_job_is(State.RUNNING)
    @rule(number=NUMBER, worker=WORKER)
    def read_a_forged_entry(self, number: int, worker: str) -> None:
        """A forged entry of a running job is pending for a worker that falls silent."""
        self.forge(RETURNED, {"job": self.pick(number, State.RUNNING).key})
        self.read(worker)
        self.stop_heartbeats(worker)
        self.reclaim()

    @where_a_job_is(State.QUEUED)
    @rule(number=NUMBER)
    def purge_what_a_worker_has_read(self, number: int) -> None:
        """A forged entry of the same job is still in a lane."""
        self.forge(RETURNED, {"job": self.pick(number, State.QUEUED).key})
        self.purge()

    @where_a_job_is(State.QUEUED)
    @rule(number=NUMBER, worker=WORKER, delete=st.booleans())
    def lose_a_message(self, number: int, worker: str, delete: bool) -> None:
        """A job has nothing to run when a worker begins it."""
        jobs = list(self.model.jobs.values())
        self.overwrite_what_is_kept_of_a_job(jobs.index(self.pick(number, State.QUEUED)), "msg", delete)
        self.claim(worker, 3 * JOBS)

    # Records and keys

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER, name=st.sampled_from(["msg", "out", "events", "history"]), delete=st.booleans())
    def overwrite_what_is_kept_of_a_job(self, number: int, name: str, delete: bool) -> None:
        job = self.pick(number)
        key = f"{self.queue.keys.prefix}{name}:{job.key}"
        job.message_lost = job.message_lost or name == "msg"
        other_type = ("SET", key, "x") if name in ("events", "history") else ("HSET", key, "x", "x")
        disturbed = self.model.disturbed
        self.tamper(("UNLINK", key), *(() if delete else (other_type,)))
        self.model.disturbed = disturbed

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER)
    def overwrite_a_record(self, number: int) -> None:
        job = self.pick(number)
        self.model.destroy(job)
        self.damage(job.key, ("SET", self.queue.keys.job(job.key), "not a hash"))

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER, field=st.sampled_from(FIELDS), garbage=NO_NUMBERS, entry=NO_ENTRIES)
    def damage_a_record(self, number: int, field: str, garbage: bytes, entry: bytes) -> None:
        job = self.pick(number)
        if job.state is None:
            return
        job.damaged = True
        if field == "state":
            self.model.destroy(job)
        if field == "fence":
            self.model.forget_attempt(job)
        self.damage(job.key, ("HSET", self.queue.keys.job(job.key), field, entry if field == "entry" else garbage))

    def damage(self, key: str, command: tuple[Any, ...]) -> None:
        """The model takes over what the record says now."""
        self.run(self._try((command,)))
        self.model.adopt(self.model.jobs[key], self.snapshot())
        self.tamper()

    @rule(name=st.sampled_from((*STRUCTURES, *(f"lane:{lane}" for lane in ALL_LANES))))
    def overwrite_a_structure(self, name: str) -> None:
        key = self.queue.keys.prefix + name
        self.model.paused = self.model.paused and name != "meta"
        self.tamper(("UNLINK", key), ("HSET", key, "x", "x") if name in ("sweeper", "janitor") else ("SET", key, "x"))

    @where_a_job_is(State.RUNNING, *ENDED)
    @rule(number=NUMBER)
    def forge_times(self, number: int) -> None:
        """The time has come, or is over, of a job that runs or has ended."""
        key = self.pick(number, State.RUNNING, *ENDED).key
        self.tamper(*(("ZADD", name, 1, key) for name in (self.queue.keys.delayed, self.queue.keys.expiring)))
        self.call("promote", self.queue.promote())
        self.call("expire", self.queue.expire())

    @rule()
    def forge_members_of_the_sets(self) -> None:
        keys = self.queue.keys
        self.tamper(*(("ZADD", key, 1, "unknown") for key in (keys.delayed, keys.expiring, keys.dead)))

    # The whole broker

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.queue.redis.script_flush())

    @precondition(lambda self: len(self.model.jobs) > 3)
    @rule(sure=st.integers(0, 3))
    def lose_everything(self, sure: int) -> None:
        """FLUSHALL; workers go on with attempts of which the broker knows nothing."""
        if sure == 0:
            self.run(self.queue.redis.flushall())
            for job in self.model.jobs.values():
                self.model.forget_attempt(job)
            self.model.jobs.clear()
            self.model.paused = False
            self.run(self.queue.broker.prepare(QUEUE, again=True))
