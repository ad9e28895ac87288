"""Each role does all that it is for with its rights alone; has none that it does not need; and cannot do more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from taskserver import Client, Context, JobCancelled, JobFailed, State, Toolbox, Worker, WorkerConfig, tool
from taskserver.domain.fleet import Action, FleetCommand
from taskserver.errors import BrokerDenied
from taskserver.store.broker import health
from taskserver.store.broker.access import ROLES
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.control import COMMAND, publish, send_command
from taskserver.store.broker.schema import CURRENT
from taskserver.store.jobs import admin, recover
from taskserver.store.jobs.claim import claim
from taskserver.store.jobs.lease import LeaseKeeper
from taskserver.store.keys import SCHEMA
from taskserver.store.maintenance import audit, registry
from taskserver.store.maintenance.audit import audit_queue
from taskserver.store.maintenance.doctor import examine_queue
from taskserver.store.maintenance.partitioning import grow
from taskserver.store.queries import partitions, queues
from taskserver.store.queries.search import JobFilter, dead_letters, newest_jobs
from taskserver.store.queries.workers import list_workers
from tests.brokers import Server, kinds
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.patience import PATIENCE

RARE = {
    "cluster|slots", "role", "wait", "waitaof", "hincrby",  # several servers; submits that wait for disk and replicas
    "client|setname", "client|setinfo", "select",  # how the client library introduces itself; a database in the URL
    "ping", "setrange",  # a subscription that hears nothing for a while; signing anew
    "rename", "persist", "hsetnx", "srem", "xinfo|stream", "zscore", # repairs; queues to forget
    "eval",  # once for each script and server
    "xautoclaim",  # workers of an earlier version
}  # fmt: skip
"""Rights for what a single server that knows the scripts is not asked."""


class Town:
    """A server with a user for each role.

    Attributes:
        used: What was called in each role's watch.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.admin = redis.Redis(unix_socket_path=str(server.socket))
        self.urls = {role: f"unix://{role}:pw-{role}@{server.socket}" for role in ROLES}
        self.used: dict[str, set[str]] = {role: set() for role in ROLES}

    def open(self) -> None:
        """Forget everything, and make the users with the rules that are printed."""
        self.admin.flushall()
        self.admin.acl_log_reset()
        for role in ROLES.values():
            first, newer = role.rules(role.name, f">pw-{role.name}")
            self.admin.execute_command(*first)
            try:
                self.admin.execute_command(*newer)
            except redis.ResponseError as error:
                assert "Unknown command" in str(error), "Redis 7.0 does not know them"  # noqa: PT017

    @contextmanager
    def watch(self, role: str) -> Iterator[None]:
        """Nobody but this role does anything in here."""
        self.admin.config_resetstat()
        yield
        called = {name.removeprefix("cmdstat_") for name in self.admin.info("commandstats")}
        self.used[role] |= called - {"config|resetstat", "info"} | (called & {"info"} if role != "producer" else set())

    def denied(self) -> list[str]:
        """What the users were refused."""
        return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in self.admin.acl_log()]


@pytest.fixture(params=sorted(kinds()), scope="module")
def any_town(request: pytest.FixtureRequest) -> Iterator[Town]:
    server = Server(kinds()[request.param]).start()
    yield Town(server)
    server.close()


@pytest.fixture
def town(any_town: Town) -> Town:
    any_town.open()
    return any_town


@pytest.fixture
async def brokers(town: Town) -> AsyncIterator[dict[str, Broker]]:
    """The store's way to the broker with each role's rights."""
    made = {role: Broker(url, patience=0.5) for role, url in town.urls.items()}
    yield made
    for broker in made.values():
        await broker.close()


begun: list[str] = []


@tool(max_retries=1, retry_delay=0.01)
async def work(what: str = "", *, ctx: Context) -> str:
    begun.append(what)
    ctx.progress(0.5, "half")
    ctx.emit("said")
    if what == "fail":
        raise ValueError("x" * 200)
    if what == "turn" and ctx.attempt == 1:
        raise ValueError("x" * 200)
    if what == "turn":
        return ""
    if what == "hold":
        await asyncio.sleep(60)
    return what * 200


@asynccontextmanager
async def worker(town: Town) -> AsyncIterator[None]:
    """A worker with its role's rights."""
    broker = Broker(town.urls["worker"], patience=1.0)
    config = WorkerConfig(lease=1.0, grace_period=0, unknown_tool_wait=0, keep_messages=True)
    life = asyncio.create_task((hired := Worker(broker, Toolbox.of(work), config)).run())
    yield
    hired.stop()
    await life
    await broker.close()


async def submit(client: Client) -> list[Any]:
    """Jobs of every kind, some of them cancelled before they begin."""
    jobs = [
        await client.submit(work, {"what": "x"}, priority="high", tags=["red"], expires=60, result_ttl=60),
        await client.submit(work, {"what": "fail"}),
        await client.submit("nobody_knows_it"),
        await client.submit(work, {"what": "turn"}),
        *await client.submit_many([(work, {"what": "y"})] * 3, idempotency_key="three"),
    ]
    for other in (await client.submit(work, delay=60, expires=100), await client.submit(work)):
        assert await other.cancel() is State.CANCELLED
    crowd = [job.id[-24:] for job in await client.submit_many([(work, {})] * 6)]
    assert await admin.cancel(await broker_of(client), "default", crowd) == [State.CANCELLED] * 6
    return jobs


async def hear(client: Client, jobs: list[Any]) -> None:
    """What became of them; the first one runs again."""
    first, failed, unknown, turned, *many = [client.job(job.id) for job in jobs]
    assert await first.result(timeout=PATIENCE) == "x" * 200
    assert [event.text async for event in first.events()] == ["half", "said"]
    assert (await first.status()).state is State.SUCCEEDED
    for job in (failed, unknown):
        with pytest.raises(JobFailed):
            await job.result(timeout=PATIENCE)
    assert await turned.result(timeout=PATIENCE) == ""
    assert [len(await job.result(timeout=PATIENCE)) for job in many] == [200] * 3
    await first.retry()


async def keep_house(broker: Broker) -> None:
    """What a worker does about others that are gone."""
    (job,) = (await claim(broker, "left", "gone", (1, 0, 0), 3)).jobs
    keeper = LeaseKeeper(broker, "gone")
    assert await asyncio.to_thread(keeper.renew, "left", [(job.key, job.fence)], b"about", 1) == []
    keeper.close()
    while not (await recover.reclaim(broker, "left", "w", lease_ms=1_000)).lost:
        await asyncio.sleep(0.001)  # what it said of itself holds for a millisecond
    assert (await claim(broker, "left", "gone", (1, 0, 0), 3)).jobs[0].key == job.key
    assert await recover.recall(broker, "left", "gone", [])
    assert await audit.take_turn(broker, "left", "w", 1_000)
    assert await audit.take_turn(broker, "left", "w", 1_000)
    while "gone" not in await audit.remove_gone_workers(
        broker, "left"
    ):  # what it said of itself holds for a millisecond
        await asyncio.sleep(0)
    async with aclosing(audit_queue(broker, "left", repair=True)) as steps:
        assert [step async for step in steps]
    assert await registry.find_unused(broker, mark=True) == []
    await recover.leave(broker, "left", "gone")
    await health.examine_servers(broker)


async def look_after(broker: Broker, client: Client, ended: str) -> None:
    """What an operator sees and does; there are two dead letters, and eight jobs wait."""
    assert [event.text async for event in client.job(ended).events()] == ["half", "said"]
    assert await client.job(ended).result(timeout=PATIENCE)
    await broker.check_schema()
    assert await health.examine_servers(broker)
    assert await examine_queue(broker, "default", lambda *_: None)
    assert await partitions.by_queue(broker) == {"default": ["default"], "left": ["left"]}
    assert (await queues.info(broker, "default")).dead == 2
    assert len(await newest_jobs(broker, ["default"], JobFilter(), 50)) > 5
    first, second = [letter.id[-24:] async for letter in dead_letters(broker, ["default"], JobFilter())]
    await admin.pause(broker, "default")
    assert await admin.requeue(broker, "default", [first]) == [""]
    assert await admin.cancel(broker, "default", [first]) == [State.CANCELLED]
    assert await admin.delete_dead(broker, "default", [second]) == 1
    assert await admin.purge(broker, "default") == 8
    await admin.resume(broker, "default")


async def test_every_role_does_its_work_with_its_own_rights_and_needs_them_all(
    town: Town, brokers: dict[str, Broker], eventually: Eventually
) -> None:
    begun.clear()

    async def until(count: int, what: str) -> None:
        async def is_so() -> bool:
            return begun.count(what) >= count

        await eventually(is_so)

    with town.watch("producer"):
        async with Client(town.urls["producer"]) as client:
            jobs = await submit(client)
    with town.watch("worker"):
        async with worker(town):
            await until(2, "fail")
            await until(2, "turn")
            await until(3, "y")
    with town.watch("producer"):
        async with Client(town.urls["producer"]) as client:
            await hear(client, jobs)
            await client.submit("work", queue="left")
    with town.watch("worker"):
        await keep_house(brokers["worker"])
    async with Client(town.urls["producer"]) as client:
        await client.submit(work, delay=100)
        await client.submit_many([(work, {})] * 6)
        with town.watch("dashboard"):
            async with Client(town.urls["dashboard"]) as other:
                await look_after(brokers["dashboard"], other, jobs[-1].id)
        async with worker(town):
            held = await client.submit(work, {"what": "hold"})
            await until(1, "hold")
            assert await held.cancel() is State.RUNNING
            with pytest.raises(JobCancelled):
                await held.result(timeout=PATIENCE)
    assert town.denied() == []
    town.used["operator"] = town.used["dashboard"]
    too_much = {role.name: {*role.commands, *role.newer} - town.used[role.name] - RARE for role in ROLES.values()}
    assert too_much == {role: set() for role in ROLES}


REFUSED = [
    "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET maxmemory 1", "KEYS *", "SHUTDOWN", "SAVE", "MONITOR",
    "ACL LIST", "ACL SETUSER x", "CLIENT LIST", "CLIENT KILL ID 1", "SCRIPT FLUSH", "FUNCTION LIST",
    "REPLICAOF NO ONE",
    "GET other", "SET other 1", "HGETALL other", "DEL other", "PUBLISH other 1", "SUBSCRIBE other", "XADD other * a 1",
    "RENAME ts:queues other", "COPY ts:queues other", "DUMP ts:queues", "MODULE LIST", "RESTORE ts:x 0 x",
    "MIGRATE host 1 ts:queues 0 1",
]  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_further_than_its_own_keys(town: Town, role: str) -> None:
    scripts = ["EVAL", "return redis.call('FLUSHALL')", "0"], ["EVAL", "return redis.call('GET', 'other')", "0"]
    with redis.Redis.from_url(town.urls[role]) as client:
        for words in (*(line.split() for line in REFUSED), *scripts):
            with pytest.raises(redis.ResponseError, match=r"permissions|executing the script can't"):
                client.execute_command(*words)


@pytest.mark.parametrize(
    ("role", "line"),
    [
        ("producer", "SCAN 0"),
        ("producer", "INFO"),
        ("producer", "XREADGROUP GROUP workers me STREAMS ts:{q}:lane:normal >"),
        ("producer", "XAUTOCLAIM ts:{q}:lane:normal workers me 0 0"),
        ("dashboard", "SET ts:{q}:msg:x forged"),
        ("dashboard", "SETRANGE ts:{q}:msg:x 0 forged"),
        ("dashboard", "APPEND ts:{q}:msg:x forged"),
        ("dashboard", "XAUTOCLAIM ts:{q}:lane:normal workers me 0 0"),
        ("dashboard", "XCLAIM ts:{q}:lane:normal workers me 0 1-1"),
    ],
)
def test_no_role_does_the_work_of_another(town: Town, role: str, line: str) -> None:
    with redis.Redis.from_url(town.urls[role]) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*line.split())


async def test_a_dashboard_cannot_submit(town: Town) -> None:
    async with Client(town.urls["dashboard"]) as client:
        with pytest.raises(BrokerDenied, match=r"may not do this: .*(can't run this|'set') command"):
            await client.submit(work)
    assert not [key for key in town.admin.scan_iter() if b":job:" in key or b":msg:" in key]


async def test_only_an_operator_tells_workers_to_stop(town: Town, brokers: dict[str, Broker]) -> None:
    hired = Worker(Broker(town.urls["worker"], patience=1.0), Toolbox.of(work), WorkerConfig(lease=1.0, grace_period=0))
    life = asyncio.create_task(hired.run())
    await asyncio.wait_for(hired.ready.wait(), PATIENCE)
    (seen,) = await list_workers(brokers["dashboard"])
    assert (seen.name, seen.tools, seen.supervisor) == (hired.name, ["work"], None)
    stop = FleetCommand(id="1", action=Action.STOP, whom=seen.name)
    for role in ("producer", "dashboard"):
        with pytest.raises(BrokerDenied, match=r"may not do this: .*channel"):
            await send_command(brokers[role], seen.queues[0], stop)
        # What the version before did: the worker hears it, because producers' scripts publish there, and does nothing.
        hurry = FleetCommand(id=role, action=Action.HURRY, whom=seen.name)
        await publish(brokers[role], seen.queues[0], f"{COMMAND} {msgspec.json.encode(hurry).decode()}")
    async with Client(town.urls["producer"]) as client:  # heard and answered after the commands
        assert await (await client.submit(work, {"what": "x"})).result(timeout=PATIENCE)
        held = await client.submit(work, {"what": "hold"})
        async with asyncio.timeout(PATIENCE):
            while (await held.status()).state is not State.RUNNING:
                await asyncio.sleep(0.01)
        await held.cancel()
        with pytest.raises(JobCancelled):
            await held.result(timeout=PATIENCE)
    assert not life.done()
    assert not hired._stopping.is_set()
    await send_command(brokers["operator"], seen.queues[0], stop)
    await asyncio.wait_for(life, PATIENCE)
    assert await list_workers(brokers["operator"]) == []
    await hired._broker.close()


async def test_a_producer_signs_anew_and_a_workers_tool_hands_out_work(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k" * 32)
    async with Client(town.urls["producer"], signing_keys="env:KEY") as client:
        job = await client.submit(work, delay=60)
        await job.cancel()
        await job.retry()
    async with Client(town.urls["worker"]) as client, worker(town):
        assert await (await client.submit(work, {"what": "w"})).result(timeout=PATIENCE) == "w" * 200
    assert town.denied() == []


async def test_a_team_may_be_kept_to_a_queue_of_its_own(town: Town) -> None:
    town.admin.set(SCHEMA, str(CURRENT))
    for role, ends in (("producer", ("done*", "control*")), ("worker", ("*",))):
        town.admin.execute_command(
            "ACL", "SETUSER", role, "resetkeys", "resetchannels", "~ts:{theirs}:*", "~ts:{theirs~*}:*",
            "~ts:queues", "~ts:partitions", f"%R~{SCHEMA}",
            *(f"&ts:{{{queue}}}:{end}" for end in ends for queue in ("theirs", "theirs~*")),
        )  # fmt: skip
    broker = Broker(town.urls["worker"], patience=1.0)
    hired = Worker(broker, Toolbox.of(work), WorkerConfig(queues=("theirs",), lease=1.0))
    life = asyncio.create_task(hired.run())
    async with Client(town.urls["producer"], queue="theirs") as client:
        assert await (await client.submit(work, {"what": "x"})).result(timeout=PATIENCE) == "x" * 200
        assert await grow(broker, "theirs", 2) == 2
        assert town.denied() == []
        with pytest.raises(BrokerDenied):
            await client.submit(work, queue="ours")
    hired.stop()
    await life
    await broker.close()


async def test_a_role_that_lacks_a_right_is_told_which(town: Town) -> None:
    town.admin.execute_command("ACL", "SETUSER", "worker", "-info")
    broker = Broker(town.urls["worker"], patience=0.2)
    with pytest.raises(BrokerDenied, match=r"the user in the broker URL .* may not do this: .*info"):
        await health.check_suitable(broker)
    await broker.close()


def test_rules_as_they_are_printed_are_refused_until_the_password_is_filled_in(town: Town) -> None:
    for role in ROLES.values():
        with pytest.raises(redis.ResponseError, match="password hash must be exactly 64 characters"):
            town.admin.execute_command(*role.rules("somebody")[0])
    assert b"somebody" not in town.admin.acl_users()
