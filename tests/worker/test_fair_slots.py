"""Queues that share a worker's slots: by weight, within their own limits, and none starves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from taskserver import BrokerUnavailable, Client, Context, tool
from taskserver.worker import fetcher
from taskserver.worker.slots import FairSlots, PartitionSlots, QueueShare, Slots
from tests.conftest import RunWorker
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


def shared(size: int, *shares: QueueShare, partitions: Sequence[str] = ()) -> dict[str, PartitionSlots]:
    fair = FairSlots(Slots(size), shares)
    return {name: fair.add(name) for name in partitions or [share.queue for share in shares]}


def begin(slots: PartitionSlots) -> int:
    """What a fetcher of a queue with more jobs than slots does; how many jobs it began."""
    taken = slots.take()
    slots.claimed(taken, taken, drained=False)
    return taken


def test_one_queue_has_all_slots() -> None:
    made = shared(4, QueueShare("a", weight=5))
    assert begin(made["a"]) == 4
    made["a"].give(3)
    assert begin(made["a"]) == 3


def test_busy_queues_begin_jobs_by_weight() -> None:
    made = shared(1, QueueShare("fast", 3), QueueShare("slow"))
    assert begin(made["fast"]) == 1
    assert begin(made["slow"]) == begin(made["fast"]) == 0  # both have more
    running, begun = "fast", []
    for _ in range(40):
        made[running].give()
        running = next(name for name in made if begin(made[name]))
        begun.append(running)
    assert Counter(begun) == {"fast": 30, "slow": 10}
    assert "slow" in begun[:4]


def test_who_leaves_gives_back_what_was_dealt() -> None:
    made = shared(2, QueueShare("a"), QueueShare("b"))
    assert begin(made["a"]) == 2
    assert begin(made["b"]) == 0
    made["a"].give(2)  # one for each
    made["b"].leave()
    assert begin(made["a"]) == 2


def test_what_others_do_not_want_anybody_may_have() -> None:
    made = shared(4, QueueShare("fast", 3), QueueShare("slow"))
    assert begin(made["slow"]) == 4


def test_a_queue_without_more_jobs_leaves_its_part_to_others() -> None:
    made = shared(2, QueueShare("a"), QueueShare("b"))
    assert made["a"].take() == 2
    assert made["b"].take() == 0
    made["a"].claimed(1, 2, drained=True)
    assert made["b"].take() == 1


def test_a_queue_whose_jobs_did_not_all_fit_into_one_answer_keeps_its_share() -> None:
    made = shared(4, QueueShare("heavy", 3), QueueShare("light"))
    assert made["heavy"].take() == 4
    assert made["light"].take() == 0
    made["heavy"].claimed(1, 4, drained=False)
    assert (made["heavy"].take(), made["light"].take()) == (2, 1)


def test_no_more_of_a_queue_than_its_limit() -> None:
    made = shared(4, QueueShare("a", limit=2), QueueShare("b"))
    assert begin(made["a"]) == 2
    assert begin(made["a"]) == 0
    assert begin(made["b"]) == 2
    made["a"].give()
    assert begin(made["b"]) == 0
    assert begin(made["a"]) == 1


def test_partitions_share_the_weight_of_their_queue_and_take_turns() -> None:
    made = shared(1, QueueShare("fast", 3), QueueShare("slow"), partitions=["fast", "fast~1", "fast~2", "slow"])
    assert begin(made["fast"]) == 1
    assert [begin(slots) for slots in made.values()] == [0, 0, 0, 0]  # all have more
    running, begun = "fast", []
    for _ in range(40):
        made[running].give()
        running = next(name for name in made if begin(made[name]))
        begun.append(running)
    assert Counter(begun) == {"fast": 10, "fast~1": 10, "fast~2": 10, "slow": 10}


def test_partitions_share_the_limit_of_their_queue() -> None:
    made = shared(4, QueueShare("a", limit=2), partitions=["a", "a~1", "a~2"])
    assert begin(made["a"]) == 2
    assert begin(made["a~1"]) == 0
    made["a"].give()
    assert [begin(made[name]) for name in ("a~2", "a~1", "a")] == [0, 1, 0]


def test_a_partition_that_comes_later_gets_its_turn() -> None:
    fair = FairSlots(Slots(4))
    first = fair.add("a")
    assert begin(first) == 4
    second = fair.add("a~1")
    assert begin(second) == 0
    first.give(3)
    assert sorted([first.take(), second.take()]) == [1, 2]


def test_one_queue_may_be_limited_too() -> None:
    made = shared(4, QueueShare("a", limit=3))
    assert begin(made["a"]) == 3


async def test_who_waits_is_woken_when_its_turn_comes() -> None:
    made = shared(1, QueueShare("a"), QueueShare("b"))
    begin(made["a"])
    waiting = asyncio.create_task(made["b"].wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    made["a"].give()
    made["a"].claimed(0, made["a"].take(), drained=True)
    await asyncio.wait_for(waiting, PATIENCE)
    assert begin(made["b"]) == 1


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_worker_keeps_to_the_limit_of_a_queue(client: Client, run_worker: RunWorker, limit: int) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    both = asyncio.Event()

    @tool
    async def work(queue: str, ctx: Context) -> None:
        running[queue] += 1
        most[queue] = max(most[queue], running[queue])
        if running["limited"] and running["free"]:
            both.set()
        await both.wait()
        await asyncio.sleep(0)
        running[queue] -= 1

    async with run_worker(work, concurrency=4, queues=("limited", "free"), shares=(QueueShare("limited", 5, limit),)):
        jobs = [await client.submit(work, {"queue": q}, queue=q) for q in ("limited", "free") for _ in range(8)]
        await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    assert most["limited"] <= limit


async def test_a_worker_starts_jobs_by_the_weights_of_their_queues(client: Client, run_worker: RunWorker) -> None:
    order: list[str] = []

    @tool
    async def work(queue: str) -> None:
        order.append(queue)

    jobs = [await client.submit(work, {"queue": q}, queue=q) for q in ("slow", "fast") for _ in range(40)]
    async with run_worker(work, concurrency=1, queues=("slow", "fast"), shares=(QueueShare("fast", 3),)):
        await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    among_the_first = Counter(order[:40])
    assert 25 <= among_the_first["fast"] <= 35


@pytest.mark.parametrize("why", ["its leases are not renewed", "its last claim cannot be recalled"])
async def test_a_partition_that_may_not_claim_leaves_its_slots_to_the_others(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    running, gate = asyncio.Semaphore(0), asyncio.Event()

    @tool
    async def hold() -> None:
        running.release()
        await gate.wait()

    @tool
    async def quick() -> None: ...

    async def unanswered(*_: object) -> list[str]:
        raise BrokerUnavailable("the broker does not answer this partition")

    worker = (await hire(hold, quick, concurrency=2, queues=("stuck", "free"))).worker
    for _ in range(5):
        await client.submit(hold, queue="stuck")
    for _ in range(2):
        await running.acquire()
    stuck = worker._partitions["stuck"].fetcher
    if why == "its leases are not renewed":
        source, renewed = worker._heartbeat._source, worker._heartbeat._source.renewed
        worker._heartbeat._source = source._replace(
            renewed=lambda name, until: renewed(name, 0.0 if name == "stuck" else until)
        )
        stuck.leased_until = 0.0
    else:
        monkeypatch.setattr(fetcher, "recall", unanswered)
        stuck._unanswered = True
    jobs = [await client.submit(quick, queue="free") for _ in range(20)]
    gate.set()
    await asyncio.gather(*(job.result(timeout=PATIENCE / 4) for job in jobs))
