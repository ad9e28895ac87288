"""A worker that is stopped claims no more, lets its jobs end, and hands back what is left, unspent."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from taskserver import Client, Context, State, tool
from taskserver.store.broker.connections import ANSWER_SECONDS
from taskserver.store.jobs import claim
from taskserver.store.jobs.claim import StreamEntry
from taskserver.store.keys import Keys
from taskserver.worker import shutdown
from tests.brokers import Server, kinds
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


class Work:
    """A tool that signals its beginning and runs until it may end."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.attempts: list[int] = []

        @tool(max_retries=0)
        async def work(ctx: Context) -> int:
            self.attempts.append(ctx.attempt)
            self.begun.set()
            await self.end.wait()
            return ctx.attempt

        self.tool = work


async def test_running_jobs_end_and_waiting_ones_stay(client: Client, hire: Hire) -> None:
    work = Work()
    hired = await hire(work.tool, concurrency=1, grace_period=60)
    running = await client.submit(work.tool)
    await work.begun.wait()
    waiting = await client.submit(work.tool)
    hired.worker.stop()
    work.end.set()
    await hired.life
    assert await running.result(timeout=PATIENCE) == 1
    assert (await waiting.status()).state is State.QUEUED


async def test_without_grace_jobs_are_handed_back_and_their_attempt_is_not_spent(client: Client, hire: Hire) -> None:
    work = Work()
    first = await hire(work.tool, grace_period=0, lease=60)
    job = await client.submit(work.tool)
    await work.begun.wait()
    await first.stop()
    status = await job.status()
    assert (status.state, status.attempt) == (State.QUEUED, 0)
    assert [(line.attempt, line.event) for line in status.history] == [(1, "released")]
    work.end.set()
    await hire(work.tool, lease=60)
    assert await job.result(timeout=PATIENCE) == 1
    assert work.attempts == [1, 1]


async def test_a_second_stop_does_not_wait(client: Client, hire: Hire) -> None:
    work = Work()
    hired = await hire(work.tool, grace_period=3600)
    job = await client.submit(work.tool)
    await work.begun.wait()
    hired.worker.stop()
    hired.worker.stop()
    await asyncio.wait_for(hired.life, PATIENCE)
    assert (await job.status()).state is State.QUEUED


async def test_a_tool_that_fails_because_the_worker_stops_has_not_spent_its_attempt(client: Client, hire: Hire) -> None:
    begun = asyncio.Event()

    @tool(max_retries=0)
    async def fragile() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("the connection was closed") from None

    hired = await hire(fragile, grace_period=0)
    job = await client.submit(fragile)
    await begun.wait()
    await hired.stop()
    status = await job.status()
    assert (status.state, status.attempt) == (State.QUEUED, 0)


async def test_what_a_blocking_read_brings_at_the_last_moment_goes_back(
    client: Client, hire: Hire, eventually: Eventually
) -> None:
    work = Work()
    work.end.set()
    first = await hire(work.tool, lease=60)
    fetcher = first.worker._partitions["default"].fetcher
    read = fetcher._reader.read

    async def read_and_stop() -> list[StreamEntry]:
        entries = await read()
        if entries:
            first.worker.stop()
            fetcher._stopping.set()  # as if the stop had reached it already
        return entries

    fetcher._reader.read = read_and_stop  # type: ignore[method-assign]

    async def reading() -> bool:
        return fetcher._reader._reading

    await eventually(reading)
    job = await client.submit(work.tool)
    await first.life
    assert work.attempts == []
    await hire(work.tool, lease=60)
    assert await job.result(timeout=PATIENCE) == 1


@pytest.mark.parametrize("yields", range(0, 40, 4))
async def test_a_stop_finds_the_blocking_read_wherever_it_is(
    hire: Hire, monkeypatch: pytest.MonkeyPatch, yields: int
) -> None:
    monkeypatch.setattr(claim, "BLOCK_SECONDS", 3600)
    hired = await hire()
    while not hired.worker._partitions["default"].fetcher._task:
        await asyncio.sleep(0)
    for _ in range(yields):
        await asyncio.sleep(0)
    await asyncio.wait_for(hired.stop(), PATIENCE)


async def test_its_consumers_leave_the_groups(client: Client, hire: Hire) -> None:
    work = Work()
    work.end.set()
    hired = await hire(work.tool)
    await (await client.submit(work.tool)).result(timeout=PATIENCE)
    keys = Keys("default")
    assert hired.worker.name.encode() in [each["name"] for each in await _consumers(hired.broker, keys)]
    await hired.stop()
    assert hired.worker.name.encode() not in [each["name"] for each in await _consumers(hired.broker, keys)]
    assert not await hired.broker.client(hired.broker.url).exists(keys.worker(hired.worker.name))


@pytest.mark.parametrize("part", ["settler", "scheduler"])
async def test_a_part_that_cannot_be_stopped_keeps_nothing_else_from_it(
    client: Client, hire: Hire, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("a bug")

    work = Work()
    hired = await hire(work.tool)
    work.end.set()
    await (await client.submit(work.tool)).result(timeout=PATIENCE)
    service = getattr(hired.worker._partitions["default"], part)
    stop = service.stop
    monkeypatch.setattr(service, "stop", fail)
    await hired.stop()
    await stop()
    assert "a part of the worker could not be stopped: a bug" in caplog.text
    assert hired.worker.name.encode() not in [each["name"] for each in await _consumers(hired.broker, Keys("default"))]


async def _consumers(broker: object, keys: Keys) -> list[dict[str, bytes]]:
    consumers: list[dict[str, bytes]] = await broker.client(broker.url).xinfo_consumers(keys.lane("normal"), "workers")  # type: ignore[attr-defined]
    return consumers


async def test_outcomes_wait_for_a_broker_that_is_away_while_the_worker_stops(hire: Hire) -> None:
    server = Server(next(iter(kinds().values())), "--appendonly", "yes", "--appendfsync", "always").start()
    try:
        work = Work()
        hired = await hire(work.tool, url=server.url, lease=60)
        async with Client(server.url) as client:
            job = await client.submit(work.tool)
            await work.begun.wait()
            server.kill()
            work.end.set()
            hired.worker.stop()
            await hired.worker._executor.wait_idle()
            await asyncio.to_thread(server.start)
            await hired.life
            assert (await job.status()).state is State.SUCCEEDED
        await hired.end()
    finally:
        server.close()


class Frozen(Server):
    """A broker that can stop answering without closing a connection."""

    def freeze(self) -> None:
        assert self.process is not None
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.fixture
def freezing() -> Iterator[Frozen]:
    server = Frozen(next(iter(kinds().values()))).start()
    yield server
    server.close()


@pytest.mark.parametrize("moment", ["starting", "idle", "running", "unsettled"])
async def test_a_frozen_broker_does_not_hold_it_up_however_many_queues_it_has(
    freezing: Frozen, hire: Hire, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    for name in ("RELEASE_SECONDS", "SETTLE_SECONDS", "LAST_SECONDS"):
        monkeypatch.setattr(shutdown, name, 0.2)
    queues = tuple(f"q{number}" for number in range(8))
    work = Work()
    if moment == "starting":
        freezing.freeze()
    hired = await hire(work.tool, url=freezing.url, queues=queues, concurrency=8, grace_period=0)
    if moment != "starting":
        await hired.worker.ready.wait()
    if moment in ("running", "unsettled"):
        async with Client(freezing.url) as client:
            for queue in queues:
                await client.submit(work.tool, queue=queue)
            while len(work.attempts) < len(queues):
                await asyncio.sleep(0.001)
    if moment != "starting":
        freezing.freeze()
    if moment == "unsettled":
        work.end.set()
        await hired.worker._executor.wait_idle()
    async with asyncio.timeout(ANSWER_SECONDS):  # what a single call to such a broker takes
        await hired.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "it left something running"
