"""A queue with several partitions, on one server: every feature is as with one, and it grows while it is used."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from taskserver import BrokerUnavailable, Client, Context, State, tool
from taskserver.client import router
from taskserver.domain.partitions import partitions, queue_of
from taskserver.store.jobs import admin
from taskserver.store.maintenance.partitioning import grow
from taskserver.store.queries import partitions as stored
from taskserver.store.queries import queues
from taskserver.store.queries.workers import list_workers
from taskserver.worker.slots import QueueShare
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


def partition_of(job: Any) -> str:
    return str(job.id.rpartition("-")[0])


@tool
async def double(number: int) -> int:
    return 2 * number


@tool(max_retries=0)
async def fail() -> None:
    raise ValueError("never mind")


async def grown(url: str, count: int, queue: str = "mail") -> None:
    async with Client(url) as client:
        assert await grow(await broker_of(client), queue, count) == count


async def test_jobs_run_wherever_they_are(hire: Hire, broker_url: str) -> None:
    await hire(double, queues=("mail",), shares=(QueueShare("mail", partitions=3),))
    async with Client(broker_url, queue="mail") as client:
        broker = await broker_of(client)
        while len(await stored.expand(broker, "mail")) < 3:
            await asyncio.sleep(0.01)
        jobs = [await client.submit(double, {"number": i}) for i in range(12)]
        assert [await job.result(timeout=PATIENCE) for job in jobs] == [2 * i for i in range(12)]
        assert Counter(map(partition_of, jobs)) == {"mail": 4, "mail~1": 4, "mail~2": 4}
        assert {(await job.status()).queue for job in jobs} == {"mail"}


async def test_what_is_submitted_at_once_stays_one_batch(broker_url: str) -> None:
    await grown(broker_url, 3)
    async with Client(broker_url, queue="mail") as client:
        await client.submit(double, {"number": 0})
        for _ in range(3):
            jobs = await asyncio.gather(*(client.submit(double, {"number": i}) for i in range(20)))
            assert len(set(map(partition_of, jobs))) == 1


async def test_many_are_spread_in_chunks_and_handles_come_in_order(hire: Hire, broker_url: str) -> None:
    await grown(broker_url, 3)
    await hire(double, queues=("mail",))
    async with Client(broker_url, queue="mail") as client:
        jobs = await client.submit_many([(double, {"number": i}) for i in range(300)])
        assert Counter(map(partition_of, jobs)) == {"mail": 100, "mail~1": 100, "mail~2": 100}
        assert await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs)) == [2 * i for i in range(300)]


async def test_the_same_key_is_the_same_job(broker_url: str) -> None:
    await grown(broker_url, 3)
    async with Client(broker_url, queue="mail") as one, Client(broker_url, queue="mail") as other:
        first = [await one.submit(double, {"number": 1}, idempotency_key=f"key {i}") for i in range(9)]
        again = [await other.submit(double, {"number": 1}, idempotency_key=f"key {i}") for i in range(9)]
        assert [job.id for job in first] == [job.id for job in again]
        assert len(set(map(partition_of, first))) == 3
        both = [
            [job.id for job in await client.submit_many([(double, {"number": 1})] * 99, idempotency_key="many")]
            for client in (one, other)
        ]
        assert both[0] == both[1]


async def test_signed_messages_are_for_their_partition(
    hire: Hire, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGN", "k1:" + "ab" * 32)
    await grown(broker_url, 3)
    await hire(double, queues=("mail",), signing_keys="env:SIGN")
    async with Client(broker_url, queue="mail", signing_keys="env:SIGN") as client:
        jobs = [await client.submit(double, {"number": 1}) for _ in range(3)]
        jobs += await client.submit_many([(double, {"number": 1})] * 150)
        assert len(set(map(partition_of, jobs))) == 3
        assert {await job.result(timeout=PATIENCE) for job in jobs} == {2}


async def test_a_worker_and_a_client_notice_that_a_queue_grows(
    hire: Hire, broker_url: str, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(router, "REFRESH_SECONDS", 0.0)
    hired = await hire(double, queues=("mail",), concurrency=2)
    async with Client(broker_url, queue="mail") as client:
        assert partition_of(await client.submit(double, {"number": 1})) == "mail"
        await grown(broker_url, 4)
        seen = set()

        async def everywhere() -> bool:
            job = await client.submit(double, {"number": 2})
            assert await job.result(timeout=PATIENCE) == 4
            seen.add(partition_of(job))
            return len(seen) == 4

        await eventually(everywhere)
        jobs = await client.submit_many([(double, {"number": i}) for i in range(400)])
        await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    await hired.stop()
    assert hired.worker._slots.free == 2


async def test_a_queue_that_is_paused_grows_by_paused_partitions(hire: Hire, broker_url: str) -> None:
    async with Client(broker_url, queue="mail") as client:
        broker = await broker_of(client)
        await client.submit(double, {"number": 1})
        await admin.pause(broker, "mail")
        await grow(broker, "mail", 3)
        assert {(await queues.info(broker, name)).paused for name in partitions("mail", 3)} == {True}


async def test_the_limit_and_the_weight_are_the_whole_queues(hire: Hire, broker_url: str) -> None:
    await grown(broker_url, 3, "limited")
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    queues_seen = set()

    @tool
    async def work(ctx: Context) -> None:
        queues_seen.add(ctx.queue)
        running[ctx.queue] += 1
        most[ctx.queue] = max(most[ctx.queue], running[ctx.queue])
        await asyncio.sleep(0.001)
        running[ctx.queue] -= 1

    async with Client(broker_url) as client:
        jobs = [await client.submit(work, queue=q) for q in ("limited", "free") for _ in range(30)]
        shares = (QueueShare("limited", 3, 2),)
        await hire(work, queues=("limited", "free"), concurrency=6, shares=shares)
        await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    assert most["limited"] == 2
    assert queues_seen == {"limited", "free"}


async def test_retries_dead_letters_delays_and_cancelling(hire: Hire, broker_url: str) -> None:
    await grown(broker_url, 3)
    await hire(double, fail, queues=("mail",))
    async with Client(broker_url, queue="mail") as client:
        late = [await client.submit(double, {"number": 1}, delay=0.05) for _ in range(3)]
        never = [await client.submit(double, {"number": 1}, delay=60) for _ in range(3)]
        dead = [await client.submit(fail) for _ in range(3)]
        assert {partition_of(job) for job in late} == {partition_of(job) for job in never} == set(partitions("mail", 3))
        assert {await job.cancel() for job in never} == {State.CANCELLED}
        assert {await job.result(timeout=PATIENCE) for job in late} == {2}
        for job in dead:
            with pytest.raises(Exception, match="never mind"):
                await job.result(timeout=PATIENCE)
        info = await queues.combined_info(await broker_of(client), "mail", partitions("mail", 3))
        assert (info.dead, info.partitions, len(info.workers)) == (3, 3, 1)


async def test_workers_tell_queues_not_partitions(hire: Hire, broker_url: str) -> None:
    await grown(broker_url, 3)
    hired = await hire(double, queues=("mail",))
    await hired.worker.ready.wait()
    (worker,) = await list_workers(hired.broker)
    assert worker.queues == ["mail"]
    assert {queue_of(name) for name in hired.worker._partitions} == {"mail"}


async def test_less_than_there_are_changes_nothing_and_is_reported(
    hire: Hire, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await grown(broker_url, 3)
    hired = await hire(double, queues=("mail",), shares=(QueueShare("mail", partitions=2),))
    await hired.worker.ready.wait()
    assert "queue mail has 3 partitions, not 2" in caplog.text
    assert await stored.counts(hired.broker) == {"mail": 3}


async def test_counts_that_are_lost_strand_no_job(hire: Hire, broker_url: str) -> None:
    await grown(broker_url, 3)
    async with Client(broker_url, queue="mail") as client:
        jobs = [await client.submit(double, {"number": 1}) for _ in range(3)]
        broker = await broker_of(client)
        await broker.ask("", lambda redis: redis.delete("ts:partitions"))
        await broker.ask("", lambda redis: redis.set("ts:partitions", "what is this"))
        await hire(double, queues=("mail",))
        assert {await job.result(timeout=PATIENCE) for job in jobs} == {2}


@pytest.mark.parametrize("error", [RuntimeError("a bug"), BrokerUnavailable("away")], ids=repr)
async def test_a_partition_is_served_even_if_nobody_can_listen_to_it_at_first(
    hire: Hire, broker_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    worker = (await hire(double, queues=("mail",))).worker
    subscription = worker._control._subscription
    failed: list[list[str]] = []

    async def subscribe(channels: Iterable[str]) -> None:
        failed.append(list(channels))
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(subscription, "subscribe", subscribe)
    await grown(broker_url, 2)
    async with Client(broker_url, queue="mail") as client:
        jobs = [await client.submit(double, {"number": i}) for i in range(4)]
        assert [await job.result(timeout=PATIENCE) for job in jobs] == [2 * i for i in range(4)]
        assert {partition_of(job) for job in jobs} == {"mail", "mail~1"}
    assert any("mail~1" in channel for channel in failed[0])
