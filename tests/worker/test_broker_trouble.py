"""The broker is killed, or loses what it need not have: every job that was acknowledged ends, exactly once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from taskserver import BrokerUnavailable, Client, Context, State, tool
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.broker.connection import Broker
from tests.brokers import Server, kinds
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server of its own that keeps what it acknowledged."""
    server = Server(max(kinds().values()), "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.close()


class Ledger:
    """Counts the runs of each job."""

    def __init__(self) -> None:
        self.runs: Counter[int] = Counter()

        @tool(max_retries=20)
        async def work(number: int, ctx: Context) -> int:
            self.runs[number] += 1
            await asyncio.sleep(0.001 * (number % 5))
            return number

        self.tool = work


async def _ended_once(client: Client, ids: list[str]) -> None:
    for job_id in ids:
        job = client.job(job_id)
        await job.result(timeout=PATIENCE)
        assert (await job.status()).state is State.SUCCEEDED


async def test_the_broker_is_killed_and_comes_back(server: Server, hire: Hire) -> None:
    ledger = Ledger()
    acknowledged: list[str] = []
    async with Client(server.url) as client:
        await hire(ledger.tool, url=server.url, lease=0.9)

        async def submit() -> None:
            for number in range(300):
                try:
                    acknowledged.append((await client.submit(ledger.tool, {"number": number})).id)
                except BrokerUnavailable:
                    continue
                await asyncio.sleep(0.002)

        submitting = asyncio.create_task(submit())
        for _ in range(2):
            count = len(acknowledged)
            while len(acknowledged) < count + 40:
                await asyncio.sleep(0.005)
            server.kill()
            await asyncio.to_thread(server.start)
        await submitting
        await _ended_once(client, acknowledged)
    assert set(ledger.runs.values()) <= {1, 2, 3}


async def test_the_scripts_are_flushed_while_jobs_run(client: Client, broker: Broker, hire: Hire) -> None:
    ledger = Ledger()
    await hire(ledger.tool)
    jobs = []
    for number in range(100):
        jobs.append(await client.submit(ledger.tool, {"number": number}))
        if number % 10 == 0:
            await broker.client(broker.url).script_flush()
    await _ended_once(client, [job.id for job in jobs])
    assert set(ledger.runs.values()) == {1}


async def test_the_groups_are_destroyed_while_jobs_run(client: Client, broker: Broker, hire: Hire) -> None:
    ledger = Ledger()
    await hire(ledger.tool, lease=0.9)
    jobs = []
    for number in range(100):
        jobs.append(await client.submit(ledger.tool, {"number": number}))
        if number % 20 == 10:
            for lane in (RETURNED, *LANES):
                await broker.client(broker.url).xgroup_destroy(broker.keys("default").lane(lane), "workers")
    await _ended_once(client, [job.id for job in jobs])


async def test_a_long_job_survives_the_loss_of_its_group(
    client: Client, broker: Broker, hire: Hire, eventually: Eventually
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    runs = 0

    @tool
    async def long() -> None:
        nonlocal runs
        runs += 1
        begun.set()
        await end.wait()

    for _ in range(2):
        await hire(long, lease=0.6)
    job = await client.submit(long)
    await begun.wait()
    lane = broker.keys("default").lane("normal")
    await broker.client(broker.url).xgroup_destroy(lane, "workers")

    async def it_is_held_again() -> bool:
        groups = await broker.client(broker.url).xinfo_groups(lane)
        return bool(groups) and groups[0]["pending"] == 1

    await eventually(it_is_held_again)
    end.set()
    await job.result(timeout=PATIENCE)
    assert runs == 1


async def test_everything_is_flushed_under_a_running_worker(client: Client, broker: Broker, hire: Hire) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @tool
    async def short() -> str:
        return "done"

    await hire(long, short, lease=0.6)
    await client.submit(long)
    await begun.wait()
    await broker.client(broker.url).flushall()
    await asyncio.wait_for(cancelled.wait(), PATIENCE)  # there is no such job any more
    assert await (await client.submit(short)).result(timeout=PATIENCE) == "done"
