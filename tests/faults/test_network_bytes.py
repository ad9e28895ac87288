"""A connection breaks at any byte: of a submit there is one job, of a finish one end, of a report one event, and what a
claim gave comes back with its attempt unspent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from taskserver.domain.ids import JobRef
from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.settlement import PackedReport, Settlement
from taskserver.errors import BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import claim, recover
from taskserver.store.jobs import settle as settling
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries.outcomes import ended_jobs, read_outcomes
from taskserver.store.scripts import script
from tests.faults.proxy import Fault, How, Proxy
from tests.patience import PATIENCE
from tests.store.harness import PATIENT, QUEUE, Queue, new_job, release, retry, says, submit_all, succeed

ENOUGH = 400


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[Broker]:
    """The broker by way of the proxy."""
    broker = Broker(proxy.url, patience=10)
    yield broker
    await broker.close()


@pytest.fixture
async def queue(broker: Broker) -> Queue:
    """The queue by a way that does not break."""
    await broker.prepare(QUEUE)
    return Queue(broker)


async def breaks(proxy: Proxy, called: str, example: Awaitable[object]) -> list[tuple[int | None, int]]:
    """Every point where the exchange of ``example`` can break: bytes of the request, or all and bytes of the reply."""
    seen = proxy.plan(Fault(script(called).sha, how=How.NOTHING))
    await example
    assert 100 < seen.request_size < ENOUGH
    return [(n, 0) for n in range(seen.request_size)] + [(None, n) for n in range(seen.reply_size)]


async def until_answered(call: Callable[[], Awaitable[object]]) -> None:
    """What a worker does with its settlements."""
    for _ in range(10):
        try:
            await call()
            return
        except BrokerUnavailable:
            continue
    pytest.fail("it was never answered")


async def test_of_a_submit_there_is_one_job(proxy: Proxy, far: Broker, queue: Queue) -> None:
    points = await breaks(proxy, "submit", submit_all(far, QUEUE, [new_job()]))
    jobs = [new_job() for _ in points]
    faults = [proxy.plan(Fault(job.key, *point)) for job, point in zip(jobs, points, strict=True)]
    await asyncio.gather(*(submit_all(far, QUEUE, [job]) for job in jobs))
    assert all(fault.struck for fault in faults)
    assert await queue.entries() == 1 + len(jobs)
    assert {job.key for job in await queue.claim(slots=ENOUGH)} >= {job.key for job in jobs}


async def held(queue: Queue, count: int) -> list[ClaimedJob]:
    await submit_all(queue.broker, QUEUE, [new_job() for _ in range(count)])
    return await queue.claim(slots=count)


async def settle(far: Broker, reports: list[PackedReport], *settlements: Settlement) -> None:
    assert await settling.settle(far, QUEUE, reports, settlements, PATIENT) == []


async def test_of_a_finish_there_is_one_end(proxy: Proxy, far: Broker, queue: Queue) -> None:
    (example,) = await held(queue, 1)
    points = await breaks(proxy, "finish", settle(far, [], succeed(example)))
    jobs = await held(queue, len(points))
    faults = [proxy.plan(Fault(job.key, *point)) for job, point in zip(jobs, points, strict=True)]
    listener = queue.redis.pubsub()
    await listener.subscribe(queue.keys.done("000000"))
    assert await listener.get_message(timeout=PATIENCE)
    await asyncio.gather(*(until_answered(lambda job=job: settle(far, [], succeed(job))) for job in jobs))
    assert all(fault.struck for fault in faults)
    assert {outcome.state for outcome in await outcomes(queue, jobs)} == {State.SUCCEEDED}
    published = [await listener.get_message(timeout=PATIENCE) for _ in jobs]
    assert sorted(key for each in published if each for key, _ in ended_jobs(each["data"])) == sorted(
        job.key for job in jobs
    )
    assert await listener.get_message(timeout=0) is None
    assert await queue.entries() == 0
    await listener.aclose()


async def outcomes(queue: Queue, jobs: list[ClaimedJob]) -> list[job_queries.Outcome]:
    found = await read_outcomes(queue.broker, QUEUE, [job.key for job in jobs])
    return [outcome for outcome in found if outcome is not None]


async def test_of_a_report_there_is_one_event(proxy: Proxy, far: Broker, queue: Queue) -> None:
    (example,) = await held(queue, 1)
    points = await breaks(proxy, "report", settle(far, [says(example, 1, "words")]))
    jobs = await held(queue, len(points))
    faults = [proxy.plan(Fault(job.key, *point)) for job, point in zip(jobs, points, strict=True)]

    async def report(job: ClaimedJob) -> None:
        await until_answered(lambda: settle(far, [says(job, 1, "one"), says(job, 2, "two")]))
        await until_answered(lambda: settle(far, [says(job, 3, "three")], succeed(job)))

    await asyncio.gather(*map(report, jobs))
    assert all(fault.struck for fault in faults)
    for job in jobs:
        events = await job_queries.events(queue.broker, JobRef(QUEUE, job.key))
        assert [event.text for event in events] == ["one", "two", "three"]


async def test_of_settlements_that_share_a_round_trip_each_is_done_once(
    proxy: Proxy, far: Broker, queue: Queue
) -> None:
    """The answers of a pipeline are cut behind each of their bytes: some settlements are answered, some are not."""
    answers = len(b"*0\r\n") * 3
    for first in range(answers):
        done, again, back = jobs = await held(queue, 3)
        faults = [
            proxy.plan(Fault(job.key, reply=first - 4 * position))
            for position, job in enumerate(jobs)
            if 4 * position <= first < 4 * position + 4
        ]
        batch = [succeed(done), retry(again, delay_ms=60_000), release(back)]
        await until_answered(lambda batch=batch: settle(far, [], *batch))
        assert [fault.struck for fault in faults] == [1]
        states = [await queue.state(job.key) for job in jobs]
        assert states == [State.SUCCEEDED, State.DELAYED, State.QUEUED]
        assert [await queue.field(job.key, "attempt") for job in jobs] == [b"1", b"1", b"0"]
        assert [job.key for job in await queue.claim()] == [back.key]


@pytest.mark.parametrize("how", [How.CUT, How.HALF_CLOSE])
async def test_what_a_claim_gave_comes_back_unspent(proxy: Proxy, far: Broker, queue: Queue, how: How) -> None:
    await queue.submit()
    seen = proxy.plan(Fault(script("claim").sha, how=How.NOTHING))
    await claim.claim(far, QUEUE, "counting", (1, 0, 0), 10)
    for reply in range(seen.reply_size):
        worker, key = f"worker-{reply:03}", await queue.submit()
        proxy.plan(Fault(worker, reply=reply, how=how))
        with pytest.raises(BrokerUnavailable):
            await claim.claim(far, QUEUE, worker, (1, 0, 0), 10)
        assert await recover.recall(far, QUEUE, worker, []) == [key]
        (job,) = await queue.claim()
        assert (job.key, job.attempt) == (key, 1)
