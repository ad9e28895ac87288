"""Each of a worker's loops loses its connection: it continues, no job runs twice, no attempt is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from taskserver import Client, Context, State, Toolbox, Worker, WorkerConfig, tool
from taskserver.store.broker import connections
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin, claim
from taskserver.store.scripts import script
from taskserver.worker.maintenance import janitor
from tests.conftest import Eventually
from tests.faults.proxy import Fault, How, Proxy
from tests.patience import PATIENCE


class Site:
    """A worker on a queue of its own that has only its proxy's way to the broker; all others have a way that holds.

    Attributes:
        runs: Attempts begun, in order: what each was told, and its number.
    """

    def __init__(self, proxy: Proxy, queue: str, broker: Broker, client: Client, eventually: Eventually) -> None:
        self.proxy = proxy
        self.queue = queue
        self.broker = broker
        self.client = client
        self.eventually = eventually
        self.runs: list[tuple[str, int]] = []
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.quick, self.long = self._tools()
        self.worker: Worker | None = None
        self.life: asyncio.Task[None] | None = None

    def _tools(self) -> tuple[Any, Any]:
        @tool(queue=self.queue)
        async def quick(word: str, ctx: Context) -> str:
            self.runs.append((word, ctx.attempt))
            await ctx.progress(0.5, word)
            ctx.emit(word)
            return word

        @tool(queue=self.queue)
        async def long(ctx: Context) -> str:
            self.runs.append(("long", ctx.attempt))
            self.begun.set()
            await self.end.wait()
            return "long"

        return quick, long

    async def works(self, word: str) -> None:
        """A job runs, once, in its first attempt, and each of its events is told once."""
        job = await self.client.submit(self.quick, {"word": word})
        assert await job.result(timeout=PATIENCE) == word
        assert [event.text async for event in job.events()] == [word, word]
        assert [run for run in self.runs if run[0] == word] == [(word, 1)]

    async def reads(self) -> bool:
        """Whether the worker waits at the broker for a job."""
        return bool(self.proxy.those("XREADGROUP"))

    async def does_not_read(self) -> bool:
        return not await self.reads()

    async def stop(self) -> None:
        """As SIGTERM does."""
        assert self.worker is not None
        assert self.life is not None
        self.worker.stop()
        await self.life


MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site(broker: Broker, client: Client, eventually: Eventually) -> AsyncIterator[MakeSite]:
    """``await site("queue", fault, lease=3)``: a site with its worker, and what befalls it from the beginning."""
    made: list[tuple[Site, Broker]] = []

    async def make(queue: str, *faults: Fault, **config: float) -> Site:
        proxy = Proxy(broker.url)
        await proxy.start()
        for fault in faults:
            proxy.plan(fault)
        site = Site(proxy, queue, broker, client, eventually)
        far = Broker(proxy.url, patience=1.0)
        settings: dict[str, Any] = {"concurrency": 4, "lease": 3.0, "grace_period": 5.0, **config}
        site.worker = Worker(far, Toolbox.of(site.quick, site.long), WorkerConfig((queue,), **settings))
        site.life = asyncio.create_task(site.worker.run())
        made.append((site, far))
        await site.worker.ready.wait()
        return site

    async def end(site: Site, far: Broker) -> None:
        site.proxy.heal()
        await site.stop()
        await far.close()
        await site.proxy.close()

    yield make
    await asyncio.gather(*(end(*each) for each in made))


# What each loop is for.


async def fetcher_claims(site: Site) -> None:
    for number in range(3):
        await site.works(f"claimed {number}")


async def settler_finishes(site: Site) -> None:
    await site.works("finished")


async def settler_reports(site: Site) -> None:
    await site.works("reported")


async def scheduler_promotes(site: Site) -> None:
    job = await site.client.submit(site.quick, {"word": "delayed"}, delay=0.2)
    assert await job.result(timeout=PATIENCE) == "delayed"


async def scheduler_expires(site: Site) -> None:
    await admin.pause(site.broker, site.queue)
    job = await site.client.submit(site.quick, {"word": "expiring"}, expires=0.2)

    async def expired() -> bool:
        return (await job.status()).state is State.EXPIRED

    await site.eventually(expired)
    await admin.resume(site.broker, site.queue)


async def reclaimer_takes_back(site: Site) -> None:
    await admin.pause(site.broker, site.queue)
    job = await site.client.submit(site.quick, {"word": "lost"})
    await site.broker.client(site.broker.url).hdel(site.broker.keys(site.queue).meta, "paused")  # nobody hears of it
    claimed = await claim.claim(site.broker, site.queue, "a worker that dies", (1, 0, 0), 3)
    await job.result(timeout=PATIENCE)
    assert site.runs == [("lost", 1 + len(claimed.jobs))]


async def janitor_repairs(site: Site) -> None:
    keys, client = site.broker.keys(site.queue), site.broker.client(site.broker.url)
    job = await site.client.submit(site.quick, {"word": "repaired"}, delay=3600)
    await client.hset(keys.job(job.id.rpartition("-")[2]), "due", 1)
    await client.delete(keys.delayed)
    assert await job.result(timeout=PATIENCE) == "repaired"


async def control_hears(site: Site) -> None:
    job = await site.client.submit(site.long)
    await site.begun.wait()

    async def cancelled() -> bool:
        return await job.cancel() is State.CANCELLED  # a word that is lost would come with a heartbeat, an hour later

    await site.eventually(cancelled)


async def heartbeat_renews(site: Site) -> None:
    """For longer than a lease: somebody would take the job otherwise."""
    job = await site.client.submit(site.long)
    await site.begun.wait()
    await heartbeats(site, 6)
    site.end.set()
    await job.result(timeout=PATIENCE)
    assert site.runs == [("long", 1)]


async def heartbeats(site: Site, times: int) -> None:
    """So often: thrice per lease."""
    beats = site.proxy.plan(Fault(script("renew").sha, how=How.NOTHING, times=times))

    async def beaten() -> bool:
        return beats.struck == times

    await site.eventually(beaten)


class Loop(NamedTuple):
    """One of a worker's loops: part of its requests, and what it is for."""

    says: str
    does: Callable[[Site], Awaitable[None]]
    lease: float = 10.0


LOOPS = [
    Loop(script("claim").sha, fetcher_claims),
    Loop("XREADGROUP", fetcher_claims),
    Loop(script("finish").sha, settler_finishes),
    Loop(script("report").sha, settler_reports),
    Loop(script("promote").sha, scheduler_promotes),
    Loop(script("expire").sha, scheduler_expires),
    Loop(script("reclaim").sha, reclaimer_takes_back, lease=1.0),
    Loop(script("repair_jobs").sha, janitor_repairs),
    Loop("SUBSCRIBE", control_hears, lease=3600),
    Loop(script("renew").sha, heartbeat_renews, lease=1.5),
]


@pytest.mark.parametrize("how", [How.CUT, How.HALF_CLOSE, How.HOLE], ids=lambda how: how.name.lower())
async def test_every_loop_goes_on(
    proxy: Proxy, hasty: None, site: MakeSite, how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers to three of its requests are lost."""
    monkeypatch.setattr(janitor, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(janitor, "STEP_SECONDS", 0.01)

    async def trouble(loop: Loop, number: int) -> None:
        fault = Fault(loop.says, how=how, times=3)
        at = await site(f"q{number}", fault, lease=loop.lease)
        await at.client.submit(at.quick, {"word": "much later"}, delay=3600)  # the janitor has something to look at
        await loop.does(at)

        async def all_struck() -> bool:
            return fault.struck == fault.times

        await at.eventually(all_struck)

    await asyncio.gather(*(trouble(loop, number) for number, loop in enumerate(LOOPS)))


async def test_a_heartbeat_that_is_lost_costs_no_lease(proxy: Proxy, site: MakeSite) -> None:
    """The lease is shorter than an answer may take: the next beat does not wait for so long."""
    at = await site("q", lease=1.5)
    job = await at.client.submit(at.long)
    await at.begun.wait()
    lost = at.proxy.plan(Fault(script("renew").sha, request=0, how=How.HOLE))
    await lost.happened.wait()
    await heartbeats(at, 5)
    at.end.set()
    await job.result(timeout=PATIENCE)
    assert at.runs == [("long", 1)]


async def test_a_worker_whose_heartbeats_do_not_get_through_begins_no_job_that_others_would_take(
    proxy: Proxy, site: MakeSite
) -> None:
    at = await site("q", lease=1.0)
    await at.eventually(at.reads)
    assert at.worker is not None
    key = at.broker.keys("q").worker(at.worker.name)
    at.proxy.plan(Fault(script("renew").sha, request=0, times=sys.maxsize))

    async def counts_as_gone() -> bool:
        return not await at.broker.client(at.broker.url).exists(key)

    await at.eventually(counts_as_gone)
    jobs = [await at.client.submit(at.quick, {"word": word}) for word in "ab"]  # the first wakes its read
    other = await site("q", lease=1.0)
    for job in jobs:
        await job.result(timeout=PATIENCE)
    assert (at.runs, sorted(other.runs)) == ([], [("a", 1), ("b", 1)])


async def test_a_worker_stops_at_once_although_its_reader_was_hung_up_on_meanwhile(
    proxy: Proxy, site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all slots are busy nobody reads, and the server may close the idle connection."""
    for module in (claim, connections):
        monkeypatch.setattr(module, "BLOCK_SECONDS", 3600)
    at = await site("q", concurrency=1)
    await at.works("a first read was made")
    await at.eventually(at.reads)
    job = await at.client.submit(at.long)
    await at.begun.wait()
    at.proxy.cut("XREADGROUP")
    await at.eventually(at.does_not_read)
    at.end.set()
    await job.result(timeout=PATIENCE)
    await at.eventually(at.reads)
    await asyncio.wait_for(at.stop(), PATIENCE)


async def test_a_worker_stops_although_nobody_answers(proxy: Proxy, hasty: None, site: MakeSite) -> None:
    at = await site("q")
    at.proxy.silent = True
    at.proxy.hole()
    await asyncio.wait_for(at.stop(), PATIENCE)


async def test_what_ends_while_the_network_is_gone_ends_once(proxy: Proxy, hasty: None, site: MakeSite) -> None:
    at = await site("q", lease=60)
    job = await at.client.submit(at.long)
    await at.begun.wait()
    at.proxy.rejecting = True
    at.proxy.cut()
    at.end.set()
    tries = len(at.proxy.attempts)

    async def it_was_tried() -> bool:
        return len(at.proxy.attempts) > tries + 20

    await at.eventually(it_was_tried)
    assert (await job.status()).state is State.RUNNING
    at.proxy.heal()
    assert await job.result(timeout=PATIENCE) == "long"
    assert at.runs == [("long", 1)]
