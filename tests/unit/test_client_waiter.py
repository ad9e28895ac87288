"""Awaited results arrive even if notifications are lost, connections break, or something unexpected happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from taskserver import BrokerUnavailable, Client, Job, ResultTimeout, tool
from taskserver.client import waiter
from taskserver.domain.job import Outcome
from taskserver.store.broker.connection import Broker
from taskserver.store.queries.outcomes import read_outcomes
from tests.brokers import Server, kinds
from tests.clients import broker_of
from tests.conftest import Eventually, RunWorker
from tests.patience import PATIENCE


@tool
async def answer() -> int:
    return 42


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    return one_broker_url


async def _end_silently(broker: Broker, job: Job[int], result: object = 42) -> None:
    """The job succeeds without a notification."""
    key = broker.keys("default").job(job.id.rpartition("-")[2])
    await broker.client(broker.url).hset(key, mapping={"state": "succeeded", "data": msgspec.msgpack.encode(result)})


async def _heard(broker: Broker) -> bool:
    """Whether there is a subscription."""
    return any(b"done:" in channel for channel in await broker.client(broker.url).pubsub_channels())


async def test_a_lost_notification_costs_a_second(client: Client, broker: Broker, eventually: Eventually) -> None:
    job = await client.submit(answer)
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await eventually(lambda: _heard(broker))
    await _end_silently(broker, job)
    assert await waiting == 42


async def test_nor_more_while_notifications_of_other_jobs_keep_coming(
    client: Client, broker: Broker, eventually: Eventually
) -> None:
    async def wait_for_another() -> None:
        with pytest.raises(ResultTimeout):
            await (await client.submit(answer)).result(timeout=0.05)

    silent = await client.submit(answer)
    waiting = asyncio.create_task(silent.result(timeout=PATIENCE))
    await eventually(lambda: _heard(broker))
    await wait_for_another()  # its own check is over; from now on only the check of all jobs finds it
    await _end_silently(broker, silent)
    while not waiting.done():
        await wait_for_another()
    assert await waiting == 42


async def test_the_subscription_is_renewed_when_its_connection_is_killed(
    client: Client, broker: Broker, run_worker: RunWorker, eventually: Eventually
) -> None:
    job = await client.submit(answer)
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await eventually(lambda: _heard(broker))
    assert await broker.client(broker.url).execute_command("CLIENT KILL TYPE pubsub") >= 1
    async with run_worker(answer):
        assert await waiting == 42
        await eventually(lambda: _heard(broker))
        assert await (await client.submit(answer)).result(timeout=PATIENCE) == 42


async def test_the_subscription_is_renewed_after_a_long_outage(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0)
    failures = 0
    listen = waiter.Subscription.subscribe

    async def fail_first(self: waiter.Subscription, channels: object) -> None:
        nonlocal failures
        failures += 1
        if failures <= 1_100:
            raise BrokerUnavailable("away")
        await listen(self, channels)  # type: ignore[arg-type]

    monkeypatch.setattr(waiter.Subscription, "subscribe", fail_first)
    job = await client.submit(answer)
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await eventually(lambda: _heard(broker))
    await _end_silently(broker, job)
    assert await waiting == 42


async def test_results_that_need_several_replies_all_arrive(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_outcomes

    async def two_at_most(broker: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
        return (await read(broker, queue, keys))[:2]

    monkeypatch.setattr(waiter, "read_outcomes", two_at_most)
    jobs = [await client.submit(answer) for _ in range(7)]
    waiting = [asyncio.create_task(job.result(timeout=PATIENCE)) for job in jobs]
    for job in jobs:
        await _end_silently(await broker_of(client), job)
    assert await asyncio.gather(*waiting) == [42] * 7


async def test_an_unexpected_error_does_not_stop_the_waiting(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_outcomes
    failed = False

    async def fail_once(*args: object) -> object:
        nonlocal failed
        if not failed:
            failed = True
            raise ValueError("a state that this version does not know")
        return await read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(waiter, "read_outcomes", fail_once)
    job = await client.submit(answer)
    await _end_silently(broker, job)
    assert await job.result(timeout=PATIENCE) == 42


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(max(kinds().values()), "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.close()


async def test_results_and_events_outlive_the_broker(server: Server) -> None:
    async with Client(server.url) as client:
        job = await client.submit(answer)
        broker = await broker_of(client)
        following = asyncio.create_task(_all_events(job))
        waiting = asyncio.create_task(job.result(timeout=PATIENCE))
        while not await _heard(broker):
            await asyncio.sleep(0.01)
        server.kill()
        other = asyncio.create_task(_all_events(job))  # starts while the broker is down
        await asyncio.sleep(0)
        await asyncio.to_thread(server.start)
        async with Client(server.url) as writer:
            await _end_silently(await broker_of(writer), job)
        assert await waiting == 42
        assert await following == await other == []


async def _all_events(job: Job[int]) -> list[str]:
    return [event.text async for event in job.events()]


async def test_a_late_notification_of_an_earlier_end_is_not_taken_for_the_next_one(
    client: Client, broker: Broker, eventually: Eventually
) -> None:
    job = await client.submit(answer)
    await _end_silently(broker, job)
    assert await job.result(timeout=PATIENCE) == 42
    await job.retry()
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await eventually(lambda: _heard(broker))
    queue, _, key = job.id.rpartition("-")
    earlier = b"d" + key.encode() + b"s\x01" + msgspec.msgpack.encode(42)
    assert await broker.client(broker.url).publish(broker.keys(queue).done(key[10:16]), earlier) == 1
    await _end_silently(broker, job, 43)
    assert await waiting == 43
