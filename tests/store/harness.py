"""A queue under test: short words for what the store's tests do over and over, and jobs in any state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from taskserver.domain import ids
from taskserver.domain.events import EventKind, Report
from taskserver.domain.job import AttemptRecord, ClaimedJob, Failure, JobStatus, NewJob, Outcome, State
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.messages import Envelope, ToolExecutionMessage, pack
from taskserver.domain.settlement import DeferLimits, Finish, PackedReport, Refusal, Release, Retry, Settlement
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin, claim, lease, recover, settle
from taskserver.store.jobs import submit as submitting
from taskserver.store.keys import GROUP, Keys
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries.outcomes import read_outcomes
from taskserver.store.queries.search import JobFilter, dead_letters

QUEUE = "q"
PATIENT = DeferLimits(total_ms=60_000)
LONG_MS = 60_000
PAYLOAD = pack(
    Envelope.of(
        ToolExecutionMessage(tool_name="add"),
        msgspec.msgpack.encode(ToolExecutionMessage(tool_name="add", tool_args={"a": 1})),
        submitted_ms=1_700_000_000_000,
        tags=("red",),
    )
)
SMALL_ERROR = msgspec.msgpack.encode(Failure("ValueError", "small"))
LARGE_ERROR = msgspec.msgpack.encode(Failure("ValueError", "large " * 100, "a traceback"))
SMALL_RESULT = msgspec.msgpack.encode(42)
LARGE_RESULT = msgspec.msgpack.encode("a long result " * 100)


class Held(NamedTuple):
    """A job and the newest fence that a worker was given for it; 0 if there was none."""

    key: str
    fence: int


def new_job(**options: Any) -> NewJob:
    """A job that was never submitted."""
    return NewJob(ids.KeyMaker("000000")(), PAYLOAD, **options)


async def submit_all(broker: Broker, queue: str, jobs: Sequence[NewJob]) -> set[str]:
    """Submit jobs; the keys of those that were known. Raises the first error."""
    known, _, failed = await submitting.submit(broker, queue, jobs)
    for error in failed.values():
        raise error
    return known


def succeed(job: ClaimedJob, data: bytes = SMALL_RESULT) -> Finish:
    return Finish(job.key, job.fence, job.attempt, State.SUCCEEDED, data, job.entry)


def fail(job: ClaimedJob, state: State = State.FAILED, error: bytes = SMALL_ERROR) -> Finish:
    return Finish(job.key, job.fence, job.attempt, state, error, job.entry)


def retry(job: ClaimedJob, error: bytes = SMALL_ERROR, delay_ms: int = 1) -> Retry:
    return Retry(job.key, job.fence, delay_ms, error)


def release(job: ClaimedJob) -> Release:
    return Release(job.key, job.fence)


def says(job: ClaimedJob, number: int, text: str, progress: float | None = None) -> PackedReport:
    kind = EventKind.OUTPUT if progress is None else EventKind.PROGRESS
    packed = b"" if progress is None else msgspec.msgpack.encode((progress, text))
    return PackedReport(
        job.key, job.fence, job.attempt, number, msgspec.msgpack.encode(Report(kind, text, progress)), packed
    )


class Queue:
    """The queue ``q`` of an empty broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.redis = broker.client(broker.url)
        self.keys: Keys = broker.keys(QUEUE)

    # What producers, workers and people do.

    async def submit(self, **options: Any) -> str:
        """Submit one job and return its key."""
        job = new_job(**options)
        assert await submit_all(self.broker, QUEUE, [job]) == set()
        return job.key

    async def claim(self, slots: int = 1, worker: str = "w1", cap: int = 10, **more: Any) -> list[ClaimedJob]:
        """Claim for so many free slots, none of them reserved for a lane."""
        return (await claim.claim(self.broker, QUEUE, worker, (slots, 0, 0), cap, **more)).jobs

    async def running(self, worker: str = "w1", **options: Any) -> ClaimedJob:
        """A fresh job that ``worker`` has just begun; nothing else may wait in the queue."""
        key = await self.submit(**options)
        (job,) = await self.claim(worker=worker)
        assert job.key == key
        return job

    async def settle(self, *settlements: Settlement, patience: DeferLimits = PATIENT) -> list[Refusal]:
        return await settle.settle(self.broker, QUEUE, (), settlements, patience)

    async def report(self, *reports: PackedReport) -> None:
        assert await settle.settle(self.broker, QUEUE, reports, (), PATIENT) == []

    async def renew(self, *jobs: ClaimedJob | Held, worker: str = "w1", valid_ms: int = LONG_MS) -> dict[str, str]:
        """One heartbeat: what needs attention, and why."""
        keeper = lease.LeaseKeeper(self.broker, worker)
        try:
            running = [(job.key, job.fence) for job in jobs]
            answer = await asyncio.to_thread(keeper.renew, QUEUE, running, b"about", valid_ms)
        finally:
            keeper.close()
        return {attention.key: attention.reason for attention in answer}

    async def reclaim(self, *alive: str, lease_ms: int = LONG_MS) -> dict[str, str]:
        """Reclaim once; the workers that are not alive have been silent for a lease. Keys, and who lost them."""
        for name in await self.redis.keys(self.keys.worker("*")):
            if name.decode().rpartition(":")[2] not in alive:
                await self.redis.unlink(name)
        for worker in alive:
            await self.redis.set(self.keys.worker(worker), b"about", px=lease_ms, nx=True)
        look = await recover.reclaim(self.broker, QUEUE, "reclaiming", lease_ms)
        assert look.is_reclaimer
        return {job.key: job.worker for job in look.lost}

    async def promote(self) -> int:
        return (await recover.promote(self.broker, QUEUE)).moved

    async def expire(self) -> int:
        return (await recover.expire(self.broker, QUEUE)).moved

    async def cancel(self, *keys: str) -> list[State | None]:
        return await admin.cancel(self.broker, QUEUE, keys)

    async def requeue(self, *keys: str) -> list[str]:
        return await admin.requeue(self.broker, QUEUE, keys)

    async def wait(self, job: ClaimedJob | Held, limit_ms: int = 0) -> list[bytes]:
        """The attempt asks a question; what was refused."""
        answer: list[bytes] = await self.broker.run("wait", QUEUE, job.key, job.fence, b"question", limit_ms)
        return answer

    async def answer(self, key: str, answer: bytes = b"yes") -> list[bytes]:
        refused: list[bytes] = await self.broker.run("answer", QUEUE, key, answer)
        return refused

    # Time passes.

    async def ripen(self, key: str) -> None:
        """The delayed job's time has come."""
        assert await self.redis.zadd(self.keys.delayed, {key: 1}, xx=True, ch=True)

    async def outdate(self, key: str) -> None:
        """The time within which the job had to start is over."""
        await self.redis.hset(self.keys.job(key), "expires", 1)
        await self.redis.zadd(self.keys.expiring, {key: 1}, xx=True)

    async def forget_wake_up_calls(self) -> None:
        """Somebody deletes the streams, with their groups, and the delay set; the workers make the groups anew."""
        await self.redis.delete(*(self.keys.lane(lane) for lane in (RETURNED, *LANES)), self.keys.delayed)
        await self.broker.prepare(QUEUE, again=True)

    # What the broker holds.

    async def record(self, key: str) -> dict[bytes, bytes]:
        """The job's hash."""
        fields: dict[bytes, bytes] = await self.redis.hgetall(self.keys.job(key))
        return fields

    async def field(self, key: str, name: str) -> bytes | None:
        value: bytes | None = await self.redis.hget(self.keys.job(key), name)
        return value

    async def dead(self) -> list[str]:
        """Keys of the dead letters, newest first."""
        letters = dead_letters(self.broker, [QUEUE], JobFilter())
        return [ids.parse(letter.id)[1] async for letter in letters]

    async def status(self, key: str) -> JobStatus:
        (status,) = await job_queries.statuses(self.broker, QUEUE, [key])
        assert status is not None
        return status

    async def state(self, key: str) -> State:
        return (await self.status(key)).state

    async def outcome(self, key: str) -> Outcome:
        (outcome,) = await read_outcomes(self.broker, QUEUE, [key])
        assert outcome is not None
        return outcome

    async def history(self, key: str) -> list[AttemptRecord]:
        return (await self.status(key)).history

    async def entry(self, key: str) -> tuple[str, str]:
        """Lane and id of the job's live entry."""
        lane, _, id_ = (await self.field(key, "entry") or b"").decode().partition("/")
        return lane, id_

    async def entry_exists(self, key: str) -> bool:
        lane, id_ = await self.entry(key)
        return bool(await self.redis.xrange(self.keys.lane(lane), id_, id_))

    async def entries(self) -> int:
        """Entries in all lanes."""
        return sum([await self.redis.xlen(self.keys.lane(lane)) for lane in (RETURNED, *LANES)])

    async def pending(self) -> int:
        """Entries that somebody has read and not given back, in all lanes."""
        counts = [await self.redis.xpending(self.keys.lane(lane), GROUP) for lane in (RETURNED, *LANES)]
        return sum(count["pending"] for count in counts)

    async def ttl(self, name: str) -> int:
        """Milliseconds that a key still lives; -1 for one without an end, -2 for none."""
        ttl: int = await self.redis.pttl(name)
        return ttl

    # Meddling.

    async def delete_entry(self, key: str) -> None:
        """Somebody deletes the job's live entry."""
        lane, id_ = await self.entry(key)
        assert await self.redis.xdel(self.keys.lane(lane), id_)

    async def destroy_groups(self) -> None:
        for lane in (RETURNED, *LANES):
            assert await self.redis.xgroup_destroy(self.keys.lane(lane), GROUP)

    # Jobs in any state.

    async def make(self, state: State) -> Held:
        """A fresh job in ``state``; no other job may be queued."""
        return await _MAKERS[state](self)

    async def _queued(self) -> Held:
        return Held(await self.submit(), 0)

    async def _delayed(self) -> Held:
        return Held(await self.submit(delay_ms=LONG_MS), 0)

    async def _running(self) -> Held:
        job = await self.running()
        return Held(job.key, job.fence)

    async def _waiting(self) -> Held:
        held = await self._running()
        assert await self.wait(held) == []
        return held

    async def _expired(self) -> Held:
        key = await self.submit(expires_ms=LONG_MS)
        await self.outdate(key)
        assert await self.expire() == 1
        return Held(key, 0)


def _ended(state: State) -> Callable[[Queue], Any]:
    async def make(queue: Queue) -> Held:
        job = await queue.running()
        assert await queue.settle(fail(job, state)) == []
        return Held(job.key, job.fence)

    return make


_MAKERS: dict[State, Callable[[Queue], Any]] = {
    State.QUEUED: Queue._queued,
    State.DELAYED: Queue._delayed,
    State.RUNNING: Queue._running,
    State.WAITING: Queue._waiting,
    State.EXPIRED: Queue._expired,
    **{state: _ended(state) for state in (State.SUCCEEDED, State.FAILED, State.DEAD, State.CANCELLED)},
}
