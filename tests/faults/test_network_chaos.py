"""Everything at once, at random: after it every job that was acknowledged has ended, once.

``TASKSERVER_TEST_SEED`` repeats the faults of a run that failed; what they meet is a matter of timing.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter

from taskserver import BrokerUnavailable, Client, Context, Job, Toolbox, Worker, WorkerConfig, tool
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries.outcomes import ended_jobs
from taskserver.store.scripts import script
from tests.conftest import Eventually
from tests.faults.proxy import Fault, How, Proxy
from tests.patience import PATIENCE
from tests.store.harness import Queue

SECONDS = 4.0
PRODUCERS, WORKERS = 3, 2
SCRIPTS = ("submit", "claim", "finish", "retry", "report", "renew", "recall", "promote", "reclaim", "outcomes")


@tool(max_retries=50, retry_delay=0.1)
async def work(number: int, ctx: Context) -> int:
    ctx.emit(f"attempt {ctx.attempt}")
    await asyncio.sleep(0.005 * (number % 4))
    if number % 5 == 0 and ctx.attempt == 1:
        raise RuntimeError("the first attempt fails")
    await ctx.progress(1.0, f"attempt {ctx.attempt}")
    return number


async def do_harm(proxy: Proxy, chance: random.Random) -> None:
    """One fault, and a moment of it where it lasts."""
    match chance.randrange(8):
        case 0:
            proxy.cut()
        case 1:
            proxy.hole()
        case 2:
            proxy.rejecting = True
            proxy.cut()
        case 3:
            proxy.silent = True
        case 4:
            proxy.delay = chance.uniform(0, 0.05)
        case 5:
            proxy.rate = chance.choice((200, 2_000))
        case _:
            request = chance.choice((None, chance.randrange(300)))
            how = chance.choice((How.CUT, How.HALF_CLOSE, How.HOLE))
            proxy.plan(Fault(script(chance.choice(SCRIPTS)).sha, request, chance.randrange(20), how))
    await asyncio.sleep(chance.uniform(0, 0.2))


async def chaos(proxy: Proxy, chance: random.Random, until: float) -> None:
    while time.monotonic() < until:
        await do_harm(proxy, chance)
        if chance.random() < 0.5:
            proxy.heal()
        await asyncio.sleep(chance.uniform(0, 0.1))
    proxy.heal()


async def produce(client: Client, producer: int, until: float) -> list[Job[int]]:
    """Submit until time is over; what is not acknowledged is submitted again, under the same key."""
    jobs: list[Job[int]] = []
    while time.monotonic() < until:
        number = len(jobs)
        try:
            jobs.append(await client.submit(work, {"number": number}, idempotency_key=f"{producer}/{number}"))
        except BrokerUnavailable:
            continue
        await asyncio.sleep(0.01)
    return jobs


class Ends:
    """Counts how often each job's end is published."""

    def __init__(self, queue: Queue) -> None:
        self._notifications = queue.redis.pubsub()
        self._pattern = queue.broker.keys("default").done("*")
        self.counts: Counter[str] = Counter()

    async def listen(self) -> None:
        await self._notifications.psubscribe(self._pattern)
        async for message in self._notifications.listen():
            if message["type"] == "pmessage":
                self.counts.update(key for key, _ in ended_jobs(message["data"]))

    async def close(self) -> None:
        await self._notifications.aclose()


async def test_every_job_ends_once(broker: Broker, client: Client, hasty: None, eventually: Eventually) -> None:
    seed = int(os.environ.get("TASKSERVER_TEST_SEED") or random.randrange(2**32))
    print(f"TASKSERVER_TEST_SEED={seed}")
    chance = random.Random(seed)
    ends = Ends(Queue(broker))
    listening = asyncio.create_task(ends.listen())
    proxies = [Proxy(broker.url) for _ in range(PRODUCERS + WORKERS)]
    for proxy in proxies:
        await proxy.start()
    producers = [Client(proxy.url) for proxy in proxies[:PRODUCERS]]
    brokers = [Broker(proxy.url, patience=1.0) for proxy in proxies[PRODUCERS:]]
    workers = [Worker(far, Toolbox.of(work), WorkerConfig(lease=2.0, grace_period=5.0)) for far in brokers]
    lives = [asyncio.create_task(worker.run()) for worker in workers]

    until = time.monotonic() + SECONDS
    harm = [asyncio.create_task(chaos(proxy, random.Random(chance.random()), until)) for proxy in proxies]
    batches = await asyncio.gather(*(produce(each, number, until) for number, each in enumerate(producers)))
    await asyncio.gather(*harm)

    assert all(batches)
    for jobs in batches:  # over the clients that went through it all
        assert await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs)) == list(range(len(jobs)))
    await check(broker, client, {job.id for jobs in batches for job in jobs}, ends.counts, eventually)

    for worker in workers:
        worker.stop()
    await asyncio.gather(*lives)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await ends.close()
    await asyncio.gather(*(each.close() for each in (*producers, *brokers)))
    for proxy in proxies:
        await proxy.close()


async def check(broker: Broker, client: Client, ids: set[str], ends: Counter[str], eventually: Eventually) -> None:
    """No job is there twice, each end was published once, each attempt's two events came once, nothing is left."""
    keys = {key async for page in job_queries.scan(broker, "default") for key in page}
    found = {f"default-{key}" for key in keys}
    assert found >= ids
    assert len(found - ids) <= PRODUCERS  # the last submit of each may have arrived although it was not acknowledged
    for job_id in found:
        await client.job(job_id).result(timeout=PATIENCE)
        events = Counter([event.text async for event in client.job(job_id).events()])
        assert max(events.values()) <= 2, events

    async def every_end_is_published() -> bool:
        return ends.keys() == keys

    await eventually(every_end_is_published)
    assert set(ends.values()) == {1}
    queue = Queue(broker)
    queue.keys = broker.keys("default")

    async def nothing_is_left() -> bool:
        return await queue.entries() == await queue.pending() == 0

    await eventually(nothing_is_left)
