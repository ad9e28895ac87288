"""What each durability setting can lose: the rows of the table in docs/availability.md, measured one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from taskserver import BrokerError, Client, ConfigError, Job, JobNotFound
from taskserver.domain.durability import Durability
from taskserver.errors import BrokerUnsuitable
from tests.brokers import Server, kinds
from tests.faults.power import OnOneMachine, cannot_cut
from tests.faults.topologies import TcpServer, replica_of

SECONDS = 2.5
"""How long jobs are submitted before the cut: more than twice as long as ``everysec`` waits."""

POSTPONED_SECONDS = 3.0
"""How long with ``everysec`` an answer may be ahead of the file: two seconds, and what it takes to come to it."""

power = pytest.mark.skipif(bool(cannot_cut()), reason=cannot_cut() or "-")


class Acknowledged:
    """A submitted job, and when its submit returned."""

    def __init__(self, job: Job[object]) -> None:
        self.job = job
        self.at = time.monotonic()


async def submit_for(seconds: float, url: str, durability: str = "memory") -> list[Acknowledged]:
    """Submit one job after the other, some hundreds a second."""
    acknowledged = []
    end = time.monotonic() + seconds
    async with Client(url, durability=durability) as client:
        while time.monotonic() < end:
            acknowledged.append(Acknowledged(await client.submit("note", {})))
            await asyncio.sleep(0.004)
    return acknowledged


async def lost(url: str, acknowledged: list[Acknowledged]) -> list[Acknowledged]:
    """Those of which the broker knows nothing."""
    gone = []
    async with Client(url) as client:
        for each in acknowledged:
            try:
                await client.job(each.job.id).status()
            except JobNotFound:
                gone.append(each)
    return gone


S = TypeVar("S", bound=Server)


@contextmanager
def started(server: S) -> Iterator[S]:
    server.start()
    try:
        yield server
    finally:
        server.close()


async def test_without_a_file_the_servers_end_loses_everything(binary: str) -> None:
    with started(Server(binary)) as server:
        acknowledged = await submit_for(0.2, server.url)
        server.kill()
        server.start()
        assert len(await lost(server.url, acknowledged)) == len(acknowledged)


async def test_with_always_the_servers_death_loses_nothing(binary: str) -> None:
    with started(Server(binary, "--appendonly", "yes", "--appendfsync", "always")) as server:
        acknowledged = await submit_for(SECONDS, server.url)
        server.kill()
        server.start()
        assert await lost(server.url, acknowledged) == []


async def test_with_everysec_the_servers_death_loses_what_waited_for_a_slow_disk(binary: str) -> None:
    """The operating system has the file's end even if the disk does not; but behind a sync that takes long, the server
    keeps to itself what it has answered, for two seconds at most. On a quick disk that is nothing.
    """
    with started(Server(binary, "--appendonly", "yes", "--appendfsync", "everysec")) as server:
        acknowledged = await submit_for(2 + SECONDS, server.url)
        killed = time.monotonic()
        server.kill()
        server.start()
        gone = await lost(server.url, acknowledged)
        assert gone == acknowledged[len(acknowledged) - len(gone) :], "the newest are lost, and no others"
        assert all(each.at > killed - POSTPONED_SECONDS for each in gone)


@power
async def test_with_everysec_a_power_cut_loses_the_last_second_or_two(binary: str) -> None:
    with started(OnOneMachine(binary, "--appendfsync", "everysec")) as server:
        acknowledged = await submit_for(0.5, server.url)
        some = server.written()
        while server.synced() < some:
            acknowledged += await submit_for(0.5, server.url)
        acknowledged += await submit_for(0.2, server.url)
        server.cut_power()
        server.start()
        gone = await lost(server.url, acknowledged)
        assert gone, "nothing was lost: the cut came just behind a sync, or is none"
        assert gone == acknowledged[-len(gone) :], "the newest are lost, and no others"
        assert len(gone) < len(acknowledged), "what was synced has survived"


@power
async def test_with_always_a_power_cut_loses_nothing(binary: str) -> None:
    with started(OnOneMachine(binary, "--appendfsync", "always")) as server:
        acknowledged = await submit_for(SECONDS, server.url)
        server.cut_power()
        server.start()
        assert await lost(server.url, acknowledged) == []


@power
async def test_what_waited_for_the_disk_survives_a_power_cut(binary: str) -> None:
    with started(OnOneMachine(binary, "--appendfsync", "everysec")) as server:
        try:
            acknowledged = await submit_for(SECONDS, server.url, "fsync")
        except BrokerUnsuitable as error:
            assert "WAITAOF" in str(error) or "before they are on disk" in str(error)  # noqa: PT017 - it depends on the server
            return
        server.cut_power()
        server.start()
        assert acknowledged
        assert await lost(server.url, acknowledged) == []


@power
@pytest.mark.skipif("valkey" not in kinds(), reason="Valkey's word is tested")
async def test_valkeys_word_is_good_when_it_writes_through() -> None:
    with started(OnOneMachine(kinds()["valkey"], "--appendfsync", "always")) as server:
        acknowledged = await submit_for(SECONDS, server.url, "fsync")
        server.cut_power()
        server.start()
        assert acknowledged
        assert await lost(server.url, acknowledged) == []


async def test_a_failover_loses_what_no_replica_had(binary: str) -> None:
    with started(TcpServer(binary)) as master, started_replica(master, binary) as replica:
        before = await submit_for(0.2, master.url, "replicas=1")
        with replica.direct as client:
            client.replicaof("NO", "ONE")  # cut off, and made the master when the other one is gone
        after = await submit_for(0.2, master.url)
        master.kill()
        gone = await lost(replica.url, [*before, *after])
        assert gone == after, "lost, though a replica had confirmed it"


@contextmanager
def started_replica(master: TcpServer, binary: str) -> Iterator[TcpServer]:
    replica = replica_of(master, binary)
    try:
        yield replica
    finally:
        replica.close()


# What can be asked for


async def test_a_server_that_cannot_confirm_its_disk_is_told_of(one_broker_url: str) -> None:
    async with Client(one_broker_url, durability="fsync") as client:
        with pytest.raises(BrokerUnsuitable, match=r"appendonly yes|appendfsync always"):
            await client.submit("note", {})


@pytest.mark.parametrize(
    ("text", "durability"),
    [
        ("memory", Durability()),
        ("fsync", Durability(fsync=True)),
        ("replicas=2", Durability(replicas=2)),
        ("fsync, replicas=1", Durability(fsync=True, replicas=1)),
    ],
)
def test_durability_is_read_from_text(text: str, durability: Durability) -> None:
    assert Durability.parse(text) == durability == Durability.parse(str(durability))


@pytest.mark.parametrize(("text", "hint"), [("fsnyc", "fsync"), ("replicas=0", "replicas=1"), ("", "memory")])
def test_other_text_is_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        Client("redis://localhost", durability=text)


def test_the_environment_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskserver.config.settings import Settings

    monkeypatch.setenv("TASKSERVER_DURABILITY", "fsync,replicas=1")
    assert Settings().durability == Durability(fsync=True, replicas=1)
    assert issubclass(BrokerUnsuitable, BrokerError)
