"""A Redis Cluster: each queue lives on one node, found by its slot and followed when the slot or the master changes."""

from __future__ import annotations

import asyncio

import pytest

from taskserver import BrokerUnavailable, Client, ConfigError, State
from taskserver.store.broker import health
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues
from tests.faults.load import under_load
from tests.faults.topologies import cluster


async def test_queues_on_every_node_with_one_client_and_one_worker(binary: str) -> None:
    with cluster(binary) as nodes:
        names = [nodes.queue_on(master) for master in nodes.masters]
        async with under_load(nodes.url, queues=names) as load:
            await load.ran(200)
        assert load.lost == []
        assert load.refused == []
        broker = Broker(nodes.url)
        assert await queues.names(broker) == sorted(names)
        assert {(await queues.info(broker, name)).running for name in names} == {0}
        await broker.close()


async def test_work_goes_on_when_a_slot_moves(binary: str) -> None:
    with cluster(binary) as nodes:
        queue = nodes.queue_on(nodes.masters[0])
        async with under_load(nodes.url, queues=[queue]) as load:
            with nodes.moving(queue, nodes.masters[1]) as move:
                while move(10):
                    await asyncio.sleep(0)  # the load tries its best meanwhile
            await load.ran()
        assert load.lost == []


async def test_a_queue_stands_still_while_its_slot_is_on_the_way(binary: str) -> None:
    """Some of its keys are here and some there: nothing may act on half of the truth."""
    with cluster(binary) as nodes:
        queue = nodes.queue_on(nodes.masters[0])
        async with Client(nodes.url) as client:
            job = await client.submit("note", {"number": 1}, queue=queue, idempotency_key="one")
            impatient = Broker(nodes.url, patience=0)
            with nodes.moving(queue, nodes.masters[1]) as move:
                assert move(1)
                with pytest.raises(BrokerUnavailable, match="moving"):
                    await impatient.run("outcomes", queue, "x")
                again = asyncio.create_task(client.submit("note", {"number": 1}, queue=queue, idempotency_key="one"))
                await asyncio.wait((again,), timeout=0.3)
                assert not again.done()
            assert (await again).id == job.id
            assert (await job.status()).state is State.QUEUED
            await impatient.close()


async def test_what_a_replica_confirmed_survives_a_masters_death(binary: str) -> None:
    with cluster(binary, replicas=2) as nodes:
        queue = nodes.queue_on(nodes.masters[0])
        async with under_load(nodes.url, queues=[queue], durability="replicas=1") as load:
            nodes.masters[0].kill()
            await asyncio.to_thread(nodes.wait_for_promotion, nodes.masters[0])
            await load.ran()
        assert load.lost == []


async def test_any_node_of_the_url_will_do_and_every_master_is_examined(binary: str) -> None:
    with cluster(binary) as nodes:
        nodes_of_url = nodes.url.replace("redis+cluster://", "redis+cluster://127.0.0.1:1,")
        broker = Broker(nodes_of_url)
        await health.check_suitable(broker)
        servers = [finding.text for finding in await health.examine_servers(broker) if finding.subject == "server"]
        await broker.close()
        assert len(servers) == len(nodes.masters)


def test_a_cluster_has_one_database() -> None:
    with pytest.raises(ConfigError, match="no other database than 0"):
        Broker("redis+cluster://localhost:7000/1")
