"""A broker behind Sentinels: found by them, followed through failovers, with nothing lost that a replica had."""

from __future__ import annotations

import signal

import pytest

from taskserver import BrokerUnavailable, Client, NotReplicated
from taskserver.store.broker import health
from taskserver.store.broker.connection import Broker
from tests.faults.load import under_load
from tests.faults.topologies import HOST, SERVICE, watched


async def test_work_goes_on_through_an_ordered_failover(binary: str) -> None:
    with watched(binary) as servers:
        async with under_load(servers.url, durability="replicas=1") as load:
            servers.fail_over()
            await load.ran()
            servers.fail_over()
            await load.ran()
        assert load.lost == []


async def test_what_a_replica_confirmed_survives_the_masters_death(binary: str) -> None:
    with watched(binary, replicas=2) as servers:
        master = servers.named()
        async with under_load(servers.url, durability="replicas=1") as load:
            master.kill()
            servers.wait_for_new_master(master)
            await load.ran()
        assert load.lost == []


async def test_a_master_that_hangs_is_left(binary: str) -> None:
    with watched(binary) as servers:
        master = servers.named()
        async with under_load(servers.url, durability="replicas=1") as load:
            master.signal(signal.SIGSTOP)
            servers.wait_for_new_master(master)
            # The former master comes back as a master for a moment; only one replica's word keeps jobs off it.
            master.signal(signal.SIGCONT)
            await load.ran()
        assert load.lost == []


async def test_without_enough_replicas_a_submit_says_so_and_can_be_repeated(binary: str) -> None:
    with watched(binary) as servers:
        _, replica = servers.servers
        async with Client(servers.url, durability="replicas=1") as client:
            first = await client.submit("note", {"number": 1})
            replica.signal(signal.SIGSTOP)
            with pytest.raises(NotReplicated, match="0 of 1 replica "):
                await client.submit("note", {"number": 2}, idempotency_key="two")
            with pytest.raises(NotReplicated):  # it is known by now, and still on one server only
                await client.submit("note", {"number": 2}, idempotency_key="two")
            replica.signal(signal.SIGCONT)
            second = await client.submit("note", {"number": 2}, idempotency_key="two")
            assert (await first.status()).tool == (await second.status()).tool == "note"


async def test_a_sentinel_may_be_gone(binary: str) -> None:
    with watched(binary) as servers:
        servers.sentinels[0].close()
        async with Client(servers.url) as client:
            await client.submit("note", {"number": 1})


async def test_the_doctor_names_the_master_behind_the_sentinels(binary: str) -> None:
    with watched(binary) as servers:
        broker = Broker(servers.url)
        found = {finding.subject: finding.text for finding in await health.examine_servers(broker)}
        await broker.close()
    assert found["server"].endswith(f"{HOST}:{servers.servers[0].port}/0")
    assert found["replication"] == "1 replica"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"redis+sentinel://:secret@{HOST}:1/{SERVICE}", "no Sentinel names a master"),
        (f"redis+cluster://:secret@{HOST}:1", "no node of the cluster answers"),
    ],
)
async def test_when_nobody_can_say_the_error_does(url: str, why: str) -> None:
    broker = Broker(url, patience=0.1)
    with pytest.raises(BrokerUnavailable, match=why) as caught:
        await broker.check_schema()
    await broker.close()
    assert "secret" not in str(caught.value)


async def test_a_master_that_no_sentinel_knows(binary: str) -> None:
    with watched(binary) as servers:
        broker = Broker(servers.url.replace(f"/{SERVICE}", "/other"), patience=0.1)
        with pytest.raises(BrokerUnavailable, match="'other'"):
            await broker.check_schema()
        await broker.close()
