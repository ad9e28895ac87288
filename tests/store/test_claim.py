"""Claiming: attempts begin, lanes share the slots, and entries that mean nothing are thrown away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskserver.domain.job import NewJob, State
from taskserver.domain.lanes import LaneQuotas, lane_quotas
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.jobs import admin
from taskserver.store.jobs import claim as claiming
from taskserver.store.jobs.claim import BlockingReader, StreamEntry
from tests.patience import PATIENCE
from tests.store.harness import LONG_MS, PAYLOAD, QUEUE, Queue, new_job, release, retry, submit_all, succeed


async def claim(queue: Queue, quotas: tuple[int, int, int], entries: list[StreamEntry] | None = None) -> claiming.Claim:
    return await claiming.claim(queue.broker, QUEUE, "w1", LaneQuotas(*quotas), 10, entries or [])


async def lanes_of(queue: Queue, quotas: tuple[int, int, int]) -> list[str]:
    return [(await queue.entry(job.key))[0] for job in (await claim(queue, quotas)).jobs]


async def test_a_claim_begins_the_first_attempt(queue: Queue) -> None:
    key = await queue.submit(max_attempts=4)
    (job,) = await queue.claim(worker="w7")
    assert job._replace(fence=0, entry=b"") == (QUEUE, key, 1, 0, 4, PAYLOAD, b"")
    assert job.id == f"{QUEUE}-{key}"
    status = await queue.status(key)
    assert (status.state, status.attempt, status.worker) == (State.RUNNING, 1, "w7")
    assert status.started_at is not None


async def test_max_attempts_is_none_where_the_submitter_left_it_open(queue: Queue) -> None:
    assert (await queue.running()).max_attempts is None


async def test_no_more_jobs_begin_than_there_are_slots(queue: Queue) -> None:
    keys = [await queue.submit() for _ in range(5)]
    assert [job.key for job in await queue.claim(slots=3)] == keys[:3]
    assert [await queue.state(key) for key in keys[3:]] == [State.QUEUED, State.QUEUED]
    assert await queue.claim(slots=0) == []


async def test_a_job_is_claimed_once(queue: Queue) -> None:
    await queue.submit()
    claims = await asyncio.gather(*(queue.claim(slots=4, worker=f"w{n}") for n in range(4)))
    assert sorted(map(len, claims)) == [0, 0, 0, 1]


# Lanes


async def test_each_lane_gets_its_quota(queue: Queue) -> None:
    for lane in ("low", "normal", "high"):
        for _ in range(10):
            await queue.submit(lane=lane)
    assert await lanes_of(queue, (6, 3, 1)) == ["high"] * 6 + ["normal"] * 3 + ["low"]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ({"low": 9}, ["low"] * 9),
        ({"normal": 2, "low": 9}, ["normal"] * 2 + ["low"] * 7),
        ({"high": 9, "low": 9}, ["high"] * 6 + ["low"] + ["high"] * 2),
    ],
)
async def test_unused_quotas_are_passed_on(queue: Queue, waiting: dict[str, int], expected: list[str]) -> None:
    for lane, count in waiting.items():
        for _ in range(count):
            await queue.submit(lane=lane)
    assert await lanes_of(queue, (6, 2, 1)) == expected


async def test_jobs_that_came_back_go_first(queue: Queue) -> None:
    job = await queue.running(lane="low")
    await queue.submit(lane="high")
    await queue.settle(release(job))
    assert await lanes_of(queue, (2, 0, 0)) == ["returned", "high"]


async def test_no_lane_starves_one_slot_at_a_time(queue: Queue) -> None:
    for lane in ("high", "normal", "low"):
        for _ in range(10):
            await queue.submit(lane=lane)
    begun = [(await lanes_of(queue, lane_quotas(turn, 1)))[0] for turn in range(10)]
    assert {lane: begun.count(lane) for lane in begun} == {"high": 6, "normal": 3, "low": 1}


# How much one claim brings


async def submit_sizes(queue: Queue, *sizes: int, lane: str = "normal") -> list[str]:
    jobs = [NewJob(new_job().key, b"x" * size, lane=lane) for size in sizes]
    await submit_all(queue.broker, QUEUE, jobs)
    return [job.key for job in jobs]


@pytest.mark.parametrize(
    ("sizes", "brought"),
    [
        ([300_000] * 8, [3, 3, 2]),
        ([4_000_000] * 3, [1, 1, 1]),
        ([10] * 30 + [600_000] * 3, [31, 1, 1]),
        ([2_000_000, 10, 10, 2_000_000, 10], [1, 2, 1, 1]),
    ],
    ids=str,
)
async def test_an_answer_is_bounded_in_bytes_and_a_larger_job_comes_alone(
    queue: Queue, sizes: list[int], brought: list[int]
) -> None:
    keys = await submit_sizes(queue, *sizes)
    claims = [await claim(queue, (0, 50, 0)) for _ in brought]
    assert [len(each.jobs) for each in claims] == brought
    jobs = [job for each in claims for job in each.jobs]
    assert [(job.key, job.attempt) for job in jobs] == [(key, 1) for key in keys]
    assert [each.drained for each in claims[:-1]] == [False] * (len(claims) - 1)


async def test_a_claim_reads_the_jobs_of_a_lane_at_once(queue: Queue) -> None:
    await submit_all(queue.broker, QUEUE, [new_job() for _ in range(60)])
    await queue.redis.config_resetstat()
    assert len((await claim(queue, (0, 50, 0))).jobs) == 50
    statistics = await queue.redis.info("commandstats")
    assert statistics["cmdstat_xreadgroup"]["calls"] == 2  # the other is of the jobs that went back


async def test_what_an_answer_has_no_room_for_is_there_for_others(queue: Queue) -> None:
    keys = await submit_sizes(queue, *[900_000] * 3, lane="high")
    firsts = [await queue.claim(slots=3, worker=f"w{number}") for number in range(3)]
    assert [[job.key for job in jobs] for jobs in firsts] == [[key] for key in keys]


async def test_a_claim_says_how_many_jobs_of_this_size_the_next_one_can_bring(queue: Queue) -> None:
    await submit_sizes(queue, *[200_000] * 2)
    assert (await claim(queue, (0, 9, 0))).room == 5
    await submit_sizes(queue, 2_000_000)
    assert (await claim(queue, (0, 9, 0))).room == 1


async def test_a_fresh_job_does_not_wait_behind_thousands_that_have_expired(queue: Queue) -> None:
    late = [new_job(expires_ms=1) for _ in range(9_000)]
    await submit_all(queue.broker, QUEUE, late)
    await asyncio.sleep(0.01)
    fresh = await queue.submit()
    claims = 0
    while not (claimed := await claim(queue, (0, 10_000, 0))).jobs:
        assert not claimed.drained
        claims += 1
    assert [job.key for job in claimed.jobs] == [fresh]
    assert claims <= 9  # a call looks at a bounded number of entries, and says that it has not seen them all
    assert await queue.state(late[-1].key) is State.EXPIRED


# What ends at the claim


@pytest.mark.parametrize(("own", "cap"), [(2, 10), (None, 2)])
async def test_a_poison_job_is_dead_after_its_attempts(queue: Queue, own: int | None, cap: int) -> None:
    key = await queue.submit(max_attempts=own)
    for attempt in (1, 2):
        (job,) = await queue.claim(cap=cap, worker=f"w{attempt}")
        assert job.attempt == attempt
        assert await queue.reclaim() == {key: f"w{attempt}"}
    assert await queue.claim(cap=cap) == []
    status = await queue.status(key)
    assert (status.state, status.attempt) == (State.DEAD, 2)
    assert status.error is not None
    assert status.error.type == "WorkerLost"
    assert [(line.attempt, line.worker, line.event) for line in status.history] == [
        (1, "w1", "lost"),
        (2, "w2", "lost"),
        (2, "w2", "dead"),
    ]
    assert await queue.redis.zscore(queue.keys.dead, key)


async def test_a_job_without_its_message_is_dead(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.unlink(queue.keys.message(key))
    assert await queue.claim() == []
    status = await queue.status(key)
    assert status.state is State.DEAD
    assert status.error is not None
    assert status.error.type == "MessageLost"


async def test_a_message_of_the_wrong_type_takes_no_other_job_down(queue: Queue) -> None:
    broken, sound = await queue.submit(), await queue.submit()
    await queue.redis.unlink(queue.keys.message(broken))
    await queue.redis.lpush(queue.keys.message(broken), "not a string")
    assert [job.key for job in await queue.claim(slots=2)] == [sound]
    assert await queue.state(broken) is State.DEAD


async def test_a_job_that_was_not_started_in_time_expires(queue: Queue) -> None:
    late, sound = await queue.submit(expires_ms=60_000), await queue.submit(expires_ms=60_000)
    await queue.outdate(late)
    assert [job.key for job in await queue.claim(slots=2)] == [sound]
    assert await queue.state(late) is State.EXPIRED


async def test_a_job_that_was_started_in_time_may_be_tried_again_later(queue: Queue) -> None:
    job = await queue.running(expires_ms=60_000)
    await queue.settle(retry(job))
    await queue.redis.hset(queue.keys.job(job.key), "expires", 1)
    await queue.ripen(job.key)
    await queue.promote()
    assert [again.attempt for again in await queue.claim()] == [2]


async def test_a_job_that_no_attempt_was_spent_on_has_not_been_started(queue: Queue) -> None:
    job = await queue.running(expires_ms=60_000)
    await queue.settle(release(job))
    await queue.redis.hset(queue.keys.job(job.key), "expires", 1)
    assert await queue.claim() == []
    assert await queue.state(job.key) is State.EXPIRED


# Entries that mean nothing

GARBAGE: list[dict[Any, Any]] = [
    {"x": "y"},
    {"job": ""},
    {"job": "unknown"},
    {"job": "../../etc/passwd"},
    {b"job": b"\xff\xfe\x00"},
    {b"\xff": b"\xfe"},
    {"other": "1", "job": "unknown"},
    {f"field{n}": "x" * 10 for n in range(1_000)},
]


@pytest.mark.parametrize("fields", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("lane", ["returned", "low"])
async def test_garbage_is_thrown_away_and_stops_nothing(queue: Queue, fields: dict[Any, Any], lane: str) -> None:
    id_ = (await queue.redis.xadd(queue.keys.lane(lane), fields)).decode()
    key = await queue.submit(lane="low")
    first = await claim(queue, (2, 0, 0))
    assert [job.key for job in first.jobs] == [key]
    assert [entry for entry, _ in first.discarded] == [f"{lane}/{id_}"]
    assert (await queue.entries(), await queue.pending()) == (1, 1)


@pytest.mark.parametrize("fields", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_that_wakes_a_worker_is_thrown_away(queue: Queue, fields: dict[Any, Any]) -> None:
    wake_up = BlockingReader(queue.broker, QUEUE, "w1")
    await queue.redis.xadd(queue.keys.lane("high"), fields)
    claimed = await claim(queue, (1, 0, 0), await wake_up.read())
    assert (claimed.jobs, len(claimed.discarded)) == ([], 1)
    assert await queue.entries() == 0


async def test_a_second_entry_of_a_job_starts_nothing(queue: Queue) -> None:
    key = await queue.submit()
    await queue.redis.xadd(queue.keys.lane("high"), {"job": key})
    claimed = await claim(queue, (2, 0, 0))
    (job,) = claimed.jobs
    assert job.key == key
    assert "not the live entry" in claimed.discarded[0][1]
    await queue.redis.xadd(queue.keys.lane("high"), {"job": key})
    assert (await claim(queue, (2, 0, 0))).jobs == []
    assert int((await queue.record(key))[b"fence"]) == job.fence


async def test_an_entry_of_another_lane_with_the_same_id_starts_nothing(queue: Queue) -> None:
    key = await queue.submit()
    _, id_ = await queue.entry(key)
    await queue.redis.xadd(queue.keys.lane("high"), {"job": key}, id=id_)
    claimed = await claim(queue, (2, 0, 0))
    assert [entry for entry, _ in claimed.discarded] == [f"high/{id_}"]
    assert await queue.entry(key) == ("normal", id_)


async def test_a_job_key_of_the_wrong_type_is_an_unknown_job(queue: Queue) -> None:
    key, sound = await queue.submit(), await queue.submit()
    await queue.redis.unlink(queue.keys.job(key))
    await queue.redis.set(queue.keys.job(key), "not a hash")
    claimed = await claim(queue, (2, 0, 0))
    assert [job.key for job in claimed.jobs] == [sound]
    assert "unknown job" in claimed.discarded[0][1]


# Pausing


async def test_nothing_is_claimed_from_a_paused_queue(queue: Queue) -> None:
    key = await queue.submit()
    await admin.pause(queue.broker, QUEUE)
    claimed = await claim(queue, (1, 0, 0))
    assert (claimed.jobs, claimed.paused) == ([], True)
    await admin.resume(queue.broker, QUEUE)
    assert [job.key for job in (await claim(queue, (1, 0, 0))).jobs] == [key]


async def test_workers_are_told_that_the_queue_goes_on(queue: Queue) -> None:
    async with queue.redis.pubsub() as workers:
        await workers.subscribe(queue.keys.control)
        await workers.get_message(timeout=PATIENCE)
        await admin.resume(queue.broker, QUEUE)
        assert (await workers.get_message(timeout=PATIENCE))["data"] == b"resume"


# Waking up


@pytest.fixture
def blocks_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that misses its signal does not end by itself."""
    monkeypatch.setattr(claiming, "BLOCK_SECONDS", 3600)


async def test_a_waiting_read_wakes_up_with_the_job(queue: Queue, blocks_for_ever: None) -> None:
    wake_up = BlockingReader(queue.broker, QUEUE, "w1")
    reading = asyncio.create_task(wake_up.read())
    key = await queue.submit()
    entries = await asyncio.wait_for(reading, PATIENCE)
    assert [(entry.lane, entry.key) for entry in entries] == [(b"normal", key.encode())]
    assert [job.key for job in (await claim(queue, (1, 0, 0), entries)).jobs] == [key]


@pytest.mark.parametrize("paused", [True, False])
async def test_an_entry_that_cannot_begin_here_goes_back_to_the_others(queue: Queue, paused: bool) -> None:
    key = await queue.submit()
    entries = await BlockingReader(queue.broker, QUEUE, "w1").read()
    if paused:
        await admin.pause(queue.broker, QUEUE)
    assert (await claim(queue, (int(paused), 0, 0), entries)).jobs == []
    await admin.resume(queue.broker, QUEUE)
    (job,) = await queue.claim(worker="w2")
    assert (job.key, job.attempt) == (key, 1)
    assert await queue.entries() == 1


async def test_an_entry_whose_job_ended_meanwhile_is_thrown_away(queue: Queue) -> None:
    key = await queue.submit()
    entries = await BlockingReader(queue.broker, QUEUE, "w1").read()
    await queue.cancel(key)
    assert (await claim(queue, (1, 0, 0), entries)).jobs == []
    assert (await claim(queue, (0, 0, 0), entries)).jobs == []
    assert (await queue.entries(), await queue.pending()) == (0, 0)


async def test_a_read_is_interrupted_even_before_it_waits(queue: Queue, blocks_for_ever: None) -> None:
    wake_up = BlockingReader(queue.broker, QUEUE, "w1")
    await wake_up.interrupt()  # harmless when nothing is read
    reading = asyncio.create_task(wake_up.read())
    await asyncio.sleep(0)
    await wake_up.interrupt()
    assert await asyncio.wait_for(reading, PATIENCE) == []


async def test_a_waiting_read_is_interrupted(queue: Queue, blocks_for_ever: None, eventually: Any) -> None:
    wake_up = BlockingReader(queue.broker, QUEUE, "w1")
    reading = asyncio.create_task(wake_up.read())

    async def blocked() -> bool:
        info = await queue.redis.info("clients")
        return bool(info["blocked_clients"])

    await eventually(blocked)
    await wake_up.interrupt()
    assert await asyncio.wait_for(reading, PATIENCE) == []


async def test_a_stream_deleted_under_a_waiting_read_is_told_as_such(
    queue: Queue, blocks_for_ever: None, eventually: Any
) -> None:
    wake_up = BlockingReader(queue.broker, QUEUE, "w1")
    reading = asyncio.create_task(wake_up.read())

    async def blocked() -> bool:
        info = await queue.redis.info("clients")
        return bool(info["blocked_clients"])

    await eventually(blocked)
    await queue.redis.delete(queue.keys.lane("normal"))
    with pytest.raises(GroupMissing):
        await asyncio.wait_for(reading, PATIENCE)


# Groups that are gone


async def test_a_claim_makes_missing_groups_anew(queue: Queue) -> None:
    key = await queue.submit()
    await queue.destroy_groups()
    assert [job.key for job in await queue.claim()] == [key]


async def test_a_rebuilt_group_starts_no_running_job_again(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.destroy_groups()
    assert await queue.claim(worker="w2", slots=5) == []  # reads the entry once more
    assert await queue.renew(job, worker="w1") == {}
    assert await queue.reclaim("w1") == {}
    assert await queue.claim(worker="w2", slots=5) == []
    assert int((await queue.record(job.key))[b"fence"]) == job.fence


async def test_a_rebuilt_group_still_finds_jobs_whose_worker_is_dead(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.destroy_groups()
    assert await queue.claim(worker="w2") == []
    assert await queue.reclaim() == {job.key: "w1"}
    assert [again.attempt for again in await queue.claim(worker="w2")] == [2]


async def test_a_worker_without_a_slot_does_not_drop_the_entry_of_a_running_job(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.destroy_groups()
    await queue.broker.prepare(QUEUE, again=True)
    entries = await BlockingReader(queue.broker, QUEUE, "w2").read()
    assert [entry.key for entry in entries] == [job.key.encode()]
    assert (await claim(queue, (0, 0, 0), entries)).jobs == []
    assert await queue.reclaim() == {job.key: "w1"}


async def milliseconds(queue: Queue) -> int:
    seconds, micros = await queue.redis.time()
    return int(seconds * 1000 + micros // 1000)


async def test_a_key_that_comes_again_after_its_record_expired_gets_no_fence_that_was_used(queue: Queue) -> None:
    before = await queue.running()
    await queue.redis.xtrim(queue.keys.lane("normal"), maxlen=0)
    await queue.redis.delete(queue.keys.job(before.key))
    while await milliseconds(queue) <= before.fence:
        await asyncio.sleep(0.001)
    await submit_all(queue.broker, QUEUE, [NewJob(before.key, PAYLOAD)])
    (after,) = await queue.claim()
    assert (after.key, after.fence > before.fence) == (before.key, True)


async def test_a_fence_rises_although_the_clock_was_set_back(queue: Queue) -> None:
    job = await queue.running()
    ahead = job.fence + LONG_MS
    await queue.redis.hset(queue.keys.job(job.key), "fence", ahead)
    await queue.reclaim()
    (again,) = await queue.claim()
    assert again.fence > ahead


async def test_a_fence_that_the_broker_forgot_is_not_given_again(queue: Queue) -> None:
    first = await queue.running(worker="w1")
    await queue.reclaim()
    before = await queue.redis.dump(queue.keys.job(first.key))
    (forgotten,) = await queue.claim(worker="w2")
    await queue.reclaim()
    await queue.redis.restore(queue.keys.job(first.key), 0, before, replace=True)  # a failover took the claim back
    await queue.redis.hset(queue.keys.job(first.key), "entry", await _entry_of_returned(queue))
    while await milliseconds(queue) <= forgotten.fence:
        await asyncio.sleep(0.001)
    (again,) = await queue.claim(worker="w3")
    assert again.fence > forgotten.fence
    assert [refusal.reason for refusal in await queue.settle(succeed(forgotten))] == ["stale"]
    assert await queue.settle(succeed(again)) == []


async def _entry_of_returned(queue: Queue) -> str:
    ((entry, _),) = await queue.redis.xrange(queue.keys.lane("returned"))
    return f"returned/{entry.decode()}"
