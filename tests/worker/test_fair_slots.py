"""Queues that share a worker's slots: by weight, within their own limits, and none starves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from taskserver import Client, Context, tool
from taskserver.worker.fair_slots import FairSlots, PartitionSlots
from taskserver.worker.slots import QueueShare, Slots
from tests.conftest import RunWorker
from tests.patience import PATIENCE


def portions(size: int, *shares: QueueShare, partitions: Sequence[str] = ()) -> dict[str, PartitionSlots]:
    made = FairSlots(Slots(size), shares)
    made.add(partitions or [share.queue for share in shares])
    return {name: portion for name, portion in made.taken_from.items() if isinstance(portion, PartitionSlots)}


def begin(portion: PartitionSlots) -> int:
    """What a fetcher of a queue with more jobs than slots does; how many jobs it began."""
    taken = portion.take()
    portion.claimed(taken, taken)
    return taken


def test_one_queue_has_the_slots_for_itself() -> None:
    slots = Slots(4)
    made = FairSlots(slots, [QueueShare("a", weight=5)])
    made.add(["a"])
    assert made.taken_from == {"a": slots}


def test_busy_queues_begin_jobs_by_weight() -> None:
    made = portions(1, QueueShare("fast", 3), QueueShare("slow"))
    assert begin(made["fast"]) == 1
    assert begin(made["slow"]) == begin(made["fast"]) == 0  # both have more
    running, begun = "fast", []
    for _ in range(40):
        made[running].give()
        running = next(name for name in made if begin(made[name]))
        begun.append(running)
    assert Counter(begun) == {"fast": 30, "slow": 10}
    assert "slow" in begun[:4]


def test_what_others_do_not_want_anybody_may_have() -> None:
    made = portions(4, QueueShare("fast", 3), QueueShare("slow"))
    assert begin(made["slow"]) == 4


def test_a_queue_without_more_jobs_leaves_its_part_to_others() -> None:
    made = portions(2, QueueShare("a"), QueueShare("b"))
    assert made["a"].take() == 2
    assert made["b"].take() == 0
    made["a"].claimed(1, 2)
    assert made["b"].take() == 1


def test_no_more_of_a_queue_than_its_limit() -> None:
    made = portions(4, QueueShare("a", limit=2), QueueShare("b"))
    assert begin(made["a"]) == 2
    assert begin(made["a"]) == 0
    assert begin(made["b"]) == 2
    made["a"].give()
    assert begin(made["b"]) == 0
    assert begin(made["a"]) == 1


def test_partitions_share_the_weight_of_their_queue_and_take_turns() -> None:
    made = portions(1, QueueShare("fast", 3), QueueShare("slow"), partitions=["fast", "fast~1", "fast~2", "slow"])
    assert begin(made["fast"]) == 1
    assert [begin(portion) for portion in made.values()] == [0, 0, 0, 0]  # all have more
    running, begun = "fast", []
    for _ in range(40):
        made[running].give()
        running = next(name for name in made if begin(made[name]))
        begun.append(running)
    assert Counter(begun) == {"fast": 10, "fast~1": 10, "fast~2": 10, "slow": 10}


def test_partitions_share_the_limit_of_their_queue() -> None:
    made = portions(4, QueueShare("a", limit=2), partitions=["a", "a~1", "a~2"])
    assert begin(made["a"]) == 2
    assert begin(made["a~1"]) == 0
    made["a"].give()
    assert [begin(made[name]) for name in ("a~2", "a~1", "a")] == [0, 1, 0]


def test_who_had_the_slots_alone_shares_them_from_now_on() -> None:
    slots = Slots(4)
    made = FairSlots(slots, [QueueShare("a", limit=None)])
    made.add(["a"])
    assert slots.take() == 4
    slots.claimed(3, 4)
    made.add(["a", "a~1"])
    first, second = made.taken_from["a"], made.taken_from["a~1"]
    assert second.take() == 1
    second.claimed(1, 1)
    first.give(3)  # its jobs from before
    assert first.take() + second.take() == 3
    assert slots.free == 0


def test_one_queue_may_be_limited_too() -> None:
    made = portions(4, QueueShare("a", limit=3))
    assert begin(made["a"]) == 3


async def test_who_waits_is_woken_when_its_turn_comes() -> None:
    made = portions(1, QueueShare("a"), QueueShare("b"))
    begin(made["a"])
    waiting = asyncio.create_task(made["b"].wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    made["a"].give()
    made["a"].claimed(0, made["a"].take())
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
