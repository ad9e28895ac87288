"""A queue whose partitions live on several masters of a cluster: whatever happens to one of them, nothing is lost."""

from __future__ import annotations

import asyncio

from taskserver import Client, Context, Toolbox, Worker, WorkerConfig, tool
from taskserver.domain.ids import key_for, parse
from taskserver.domain.partitions import number_for, partition, partitions
from taskserver.store.broker.connection import Broker
from taskserver.store.maintenance.partitioning import grow
from taskserver.store.queries import partitions as stored
from taskserver.store.queries import queues
from tests.conftest import Eventually
from tests.faults.load import Load, under_load
from tests.faults.topologies import Cluster, TcpServer, cluster
from tests.patience import PATIENCE

QUEUE = "mail"
COUNT = 6


async def spread(nodes: Cluster) -> dict[TcpServer, list[str]]:
    """Let the queue grow; which of its partitions each master has."""
    broker = Broker(nodes.url)
    assert await grow(broker, QUEUE, COUNT) == COUNT
    await broker.close()
    where: dict[TcpServer, list[str]] = {master: [] for master in nodes.masters}
    for name in partitions(QUEUE, COUNT):
        where[nodes.owner(name)].append(name)
    assert all(where.values()), "each master has a part of the queue"
    return where


def used_partitions(load: Load) -> set[str]:
    return {parse(job.id)[0] for job in load.acknowledged.values()}


async def test_one_queue_on_three_masters(binary: str) -> None:
    with cluster(binary) as nodes:
        await spread(nodes)
        async with under_load(nodes.url, queues=[QUEUE]) as load:
            await load.ran(200)
        assert load.lost == []
        assert load.refused == []
        assert used_partitions(load) == set(partitions(QUEUE, COUNT))
        broker = Broker(nodes.url)
        assert await stored.by_queue(broker) == {QUEUE: partitions(QUEUE, COUNT)}
        info = await queues.combined_info(broker, QUEUE, partitions(QUEUE, COUNT))
        assert (sum(info.ready.values()), info.running) == (0, 0)
        await broker.close()


async def test_a_slot_moves_under_load(binary: str) -> None:
    with cluster(binary) as nodes:
        where = await spread(nodes)
        source, target = nodes.masters[:2]
        async with under_load(nodes.url, queues=[QUEUE]) as load:
            with nodes.moving(where[source][0], target) as move:
                while move(10):
                    await asyncio.sleep(0)  # the load tries its best meanwhile
            await load.ran()
        assert load.lost == []


async def test_a_queue_grows_under_load(binary: str) -> None:
    """The workers are there first: what clients that know of it submit is run, what others submit is too."""
    with cluster(binary) as nodes:
        async with under_load(nodes.url, queues=[QUEUE]) as load:
            await spread(nodes)
            async with Client(nodes.url, queue=QUEUE) as client:
                jobs = await client.submit_many([("note", {"number": number}) for number in range(10**6, 10**6 + 300)])
                assert {parse(job.id)[0] for job in jobs} == set(partitions(QUEUE, COUNT))
                await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
            await load.ran()
        assert load.lost == []


async def test_a_master_dies(binary: str) -> None:
    """What a replica of it has confirmed is not lost."""
    with cluster(binary, replicas=2) as nodes:
        await spread(nodes)
        async with under_load(nodes.url, queues=[QUEUE], durability="replicas=1") as load:
            nodes.masters[0].kill()
            await asyncio.to_thread(nodes.wait_for_promotion, nodes.masters[0])
            await load.ran()
        assert load.lost == []


async def test_while_a_master_is_away_jobs_at_the_others_keep_their_leases(binary: str, eventually: Eventually) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def hold(ctx: Context) -> str:
        begun.set()
        await end.wait()
        return f"attempt {ctx.attempt} " * 100  # too long for a notification: it must be read

    with cluster(binary, "--cluster-require-full-coverage", "no") as nodes:
        where = await spread(nodes)
        broker = Broker(nodes.url, patience=0.2)
        worker = Worker(broker, Toolbox.of(hold), WorkerConfig(queues=(QUEUE,), lease=1.0, grace_period=0))
        life = asyncio.create_task(worker.run())
        async with Client(nodes.url, queue=QUEUE) as client:
            keys = (f"key {i}" for i in range(100))
            at_second = next(key for key in keys if _partition(key) in where[nodes.masters[1]])
            at_first = next(key for key in keys if _partition(key) in where[nodes.masters[0]])
            waiting = asyncio.create_task((await client.submit("unknown", idempotency_key=at_first)).result())
            job = await client.submit(hold, idempotency_key=at_second)
            await asyncio.wait_for(begun.wait(), PATIENCE)
            nodes.masters[0].kill()

            async def some_leases_later() -> bool:
                return worker._heartbeat.broker_errors >= 15

            await eventually(some_leases_later)
            end.set()
            assert await job.result(timeout=PATIENCE) == "attempt 1 " * 100
            waiting.cancel()
        worker.hurry()
        await life
        await broker.close()


def _partition(key: str) -> str:
    return partition(QUEUE, number_for(key_for(key), COUNT))
