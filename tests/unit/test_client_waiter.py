"""Awaited results arrive even if notifications are lost, connections break, or something unexpected happens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest

from taskserver import BrokerUnavailable, Client, Inspector, Job, ResultTimeout, tool
from taskserver.client import waiter
from taskserver.domain.ids import KeyMaker, key_for, new_route, parse, route_of
from taskserver.domain.job import Outcome, State
from taskserver.errors import BrokerDenied
from taskserver.store.broker import subscription
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
    ref = parse(job.id)
    key = broker.keys(ref.queue).job(ref.key)
    await broker.client(broker.url).hset(key, mapping={"state": "succeeded", "data": msgspec.msgpack.encode(result)})


async def _heard(broker: Broker) -> bool:
    """Whether there is a subscription."""
    return any(b"done:" in channel for channel in await broker.client(broker.url).pubsub_channels())


async def test_a_lost_notification_is_noticed(client: Client, broker: Broker, eventually: Eventually) -> None:
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
    listen = subscription.Subscription.subscribe

    async def fail_first(self: subscription.Subscription, channels: object) -> None:
        nonlocal failures
        failures += 1
        if failures <= 1_100:
            raise BrokerUnavailable("away")
        await listen(self, channels)  # type: ignore[arg-type]

    monkeypatch.setattr(subscription.Subscription, "subscribe", fail_first)
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


async def test_a_job_that_is_awaited_for_long_is_checked_ever_more_rarely(
    client: Client, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    times: list[float] = []

    async def noting(broker: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
        times.append(asyncio.get_running_loop().time())
        return await read_outcomes(broker, queue, keys)

    async def checked_eight_times() -> bool:
        return len(times) >= 8

    monkeypatch.setattr(waiter, "read_outcomes", noting)
    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0.01)
    waiting = asyncio.create_task((await client.submit("nobody")).result())
    await eventually(checked_eight_times)
    waiting.cancel()
    rarer = len(times) - 2  # the others are when it begins, and when the subscription takes effect
    assert times[-1] - times[0] >= 0.01 * (2**rarer - 2)


async def test_checks_grow_no_rarer_while_no_notifications_can_come(
    client: Client, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Here because the user has no right to subscribe. Rarer checks would take longer than tests wait."""
    checks = 0

    async def counting(broker: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
        nonlocal checks
        checks += 1
        return await read_outcomes(broker, queue, keys)

    async def denied(*_: object) -> None:
        raise BrokerDenied("no")

    async def checked_often() -> bool:
        return checks >= 20

    monkeypatch.setattr(waiter, "read_outcomes", counting)
    monkeypatch.setattr(subscription.Subscription, "subscribe", denied)
    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0.01)
    waiting = asyncio.create_task((await client.submit("nobody")).result())
    await eventually(checked_often)
    waiting.cancel()


async def test_checks_of_many_jobs_take_turns(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """However many jobs are awaited: a call for each second, and no job is forgotten."""
    checked: Counter[str] = Counter()

    async def noting(broker: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
        assert len(keys) <= 10
        checked.update(keys)
        return await read_outcomes(broker, queue, keys)

    monkeypatch.setattr(waiter, "BATCH_JOBS", 10)
    jobs = await client.submit_many([(answer, {})] * 45)
    waiting = [asyncio.create_task(job.result(timeout=PATIENCE)) for job in jobs]
    await eventually(lambda: _heard(broker))
    monkeypatch.setattr(waiter, "read_outcomes", noting)
    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0.01)
    for job in jobs:
        await _end_silently(broker, job)
    assert await asyncio.gather(*waiting) == [42] * 45


def _keyed(number: int) -> str:
    return f"default-{key_for(str(number))}"


def _of_another_client(number: int) -> str:
    return f"default-{KeyMaker(new_route())()}"


@pytest.mark.parametrize("make", [_keyed, _of_another_client])
async def test_channels_that_nobody_uses_are_left(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, make: Callable[[int], str]
) -> None:
    monkeypatch.setattr(subscription, "IDLE_CHANNELS", 10)
    raw = broker.client(broker.url)
    for start in (0, 100):
        jobs: list[Job[int]] = [client.job(make(number)) for number in range(start, start + 100)]
        for job in jobs:
            await _end_silently(broker, job)
        assert await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs)) == [42] * 100

        async def few_are_left() -> bool:
            return len(await raw.pubsub_channels()) <= 10

        await eventually(few_are_left)
    job = await client.submit(answer, idempotency_key="one more")
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await eventually(lambda: _listens(broker, job))
    await _end_silently(broker, job)
    assert await waiting == 42


async def _listens(broker: Broker, job: Job[int]) -> bool:
    queue, _, key = job.id.rpartition("-")
    ((_, count),) = await broker.client(broker.url).pubsub_numsub(broker.keys(queue).done(route_of(key)))
    return count == 1


@pytest.mark.parametrize("name", ["receive results", "check results", "subscribe to results", "outcomes of default"])
async def test_a_task_that_is_cancelled_leaves_no_caller_waiting(client: Client, broker: Broker, name: str) -> None:
    waiting = asyncio.create_task((await client.submit(answer)).result())
    await asyncio.sleep(0)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    task.cancel()
    with pytest.raises(BrokerUnavailable, match="ask for the result again"):
        await asyncio.wait_for(waiting, PATIENCE)
    job = await client.submit(answer)
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await _end_silently(broker, job)
    assert await waiting == 42


async def test_a_client_whose_first_question_was_cancelled_asks_again(client: Client) -> None:
    submits = [asyncio.create_task(client.submit(answer)) for _ in range(3)]
    while not (asking := [task for task in asyncio.all_tasks() if task.get_name() == "learn partitions"]):
        await asyncio.sleep(0)
    asking[0].cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*submits, return_exceptions=True), PATIENCE)
    assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * 3
    assert await client.submit(answer)


@pytest.mark.parametrize(
    ("paused", "sentence"),
    [
        (False, "no worker serves queue nobody; start one: taskserver worker --queue nobody --tools MODULE"),
        (True, "queue nobody is paused; resume it: taskserver queue resume nobody"),
    ],
)
async def test_why_a_job_does_not_start_is_said_once(
    client: Client,
    one_broker_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
    paused: bool,
    sentence: str,
) -> None:
    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0.02)
    jobs = await client.submit_many([(answer, {})] * 3, queue="nobody")
    if paused:
        async with Inspector(one_broker_url) as inspector:
            await inspector.pause("nobody")
    waiting = [asyncio.create_task(job.result(timeout=PATIENCE)) for job in jobs]

    async def is_said() -> bool:
        return bool(caplog.messages)

    await eventually(is_said)
    with pytest.raises(ResultTimeout):
        await jobs[0].result(timeout=0.2)
    (line,) = caplog.messages
    assert line.endswith(f" waits: {sentence}")
    for each in waiting:
        each.cancel()


async def test_nothing_is_said_of_a_job_that_waits_for_a_busy_worker(
    client: Client, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0.02)
    end = asyncio.Event()

    @tool
    async def long() -> None:
        await end.wait()

    async with run_worker(long, answer, concurrency=1):
        await client.submit(long)
        job = await client.submit(answer)
        with pytest.raises(ResultTimeout):
            await job.result(timeout=0.3)
        end.set()
        assert await job.result(timeout=PATIENCE) == 42
    assert caplog.messages == []


async def test_a_caller_that_leaves_leaves_no_timer(client: Client, eventually: Eventually) -> None:
    job = await client.submit("nobody", expires=3600)
    with job._waiter.watch(parse(job.id)) as watch:

        async def has_a_timer() -> bool:
            return watch.expiry is not None

        await eventually(has_a_timer)
    assert watch.expiry
    assert watch.expiry.cancelled()


async def test_an_outcome_that_is_known_is_not_read_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be large, and the link slow: meanwhile, the job may be checked again for other reasons."""
    reads: list[list[str]] = []
    reading, arrived = asyncio.Event(), asyncio.Event()

    async def read(_: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
        reads.append(list(keys))
        reading.set()
        await arrived.wait()
        return [Outcome(State.SUCCEEDED, msgspec.msgpack.encode(42))] * len(keys)

    monkeypatch.setattr(waiter, "read_outcomes", read)
    job = await client.submit(answer)
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await reading.wait()
    job._waiter._check((job._ref,))
    arrived.set()
    assert await waiting == 42
    while job._waiter._unchecked:
        await asyncio.sleep(0)
    assert len(reads) == 1


async def test_a_job_that_nobody_can_end_at_its_time_is_checked_at_the_usual_pace(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0

    async def overdue(_: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
        nonlocal checks
        checks += 1
        return [Outcome(State.QUEUED, b"0")] * len(keys)

    monkeypatch.setattr(waiter, "read_outcomes", overdue)
    waiting = asyncio.create_task((await client.submit("nobody", expires=3600)).result())
    turns = 0
    while checks < 2 or turns < 1_000:  # as it begins, and when the subscription takes effect
        turns += 1
        await asyncio.sleep(0)
    waiting.cancel()
    assert checks < 20


@pytest.mark.parametrize("fault", ["an unexpected error", "a cancellation"])
async def test_advice_that_fails_ends_no_wait(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, fault: str
) -> None:
    asked = asyncio.Event()

    async def fail(*_: object) -> None:
        asked.set()
        if fault == "an unexpected error":
            raise ValueError("a gauge that this version does not know")
        await asyncio.sleep(PATIENCE)

    monkeypatch.setattr(waiter, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr("taskserver.client.unserved.queues.info", fail)
    job = await client.submit(answer, queue="nobody")
    waiting = asyncio.create_task(job.result(timeout=PATIENCE))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    for task in asyncio.all_tasks():
        if task.get_name() == "workers of nobody":
            task.cancel()
    await _end_silently(broker, job)
    assert await waiting == 42
