"""The schema in the broker: whoever is first writes it down, and nobody works with one that it does not know."""

from __future__ import annotations

import asyncio

import pytest

from taskserver import Client, Toolbox, Worker, WorkerConfig, tool
from taskserver.errors import BrokerUnavailable, BrokerUnsuitable
from taskserver.store.broker import health
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.schema import CURRENT, NUMBER, Schema
from taskserver.store.keys import SCHEMA
from taskserver.worker.maintenance import schema_watcher
from tests.patience import PATIENCE

NEWER = f"{NUMBER + 1} 9.1.0"
UPGRADE = rf"has schema {NUMBER + 1}, .*supports schema {NUMBER}: pip install --upgrade 'agent-taskserver>=9\.1\.0'"


@tool
async def work() -> str:
    return "done"


async def test_whoever_is_first_writes_it_down_and_the_next_ones_leave_it(broker: Broker, client: Client) -> None:
    await client.submit(work)
    raw = broker.client(broker.url)
    assert await raw.get(SCHEMA) == str(CURRENT).encode()
    await raw.set(SCHEMA, earlier := f"{NUMBER} 0.0.9")
    await broker.check_schema()
    assert await raw.get(SCHEMA) == earlier.encode()


async def test_one_that_is_newer_is_refused_with_the_command_to_run(broker: Broker, client: Client) -> None:
    await broker.client(broker.url).set(SCHEMA, NEWER)
    with pytest.raises(BrokerUnsuitable, match=UPGRADE):
        await client.submit(work)
    with pytest.raises(BrokerUnsuitable, match=UPGRADE):
        await client.job(f"default-{'0' * 24}").status()
    with pytest.raises(BrokerUnsuitable, match=UPGRADE):
        await Worker(broker, Toolbox.of(work), WorkerConfig()).run()
    assert [name async for name in broker.client(broker.url).scan_iter()] == [SCHEMA.encode()], "nothing was written"


@pytest.mark.parametrize(
    "forged", ["banana", "0 0.1.0", "1", "-1 0.1.0", "1 $(reboot)", "9999999 1.0", "1 0.1.0" * 20, "\xff\0"]
)
async def test_one_that_cannot_be_is_refused_and_repaired(broker: Broker, forged: str) -> None:
    await broker.client(broker.url).set(SCHEMA, forged.encode("latin-1"))
    with pytest.raises(BrokerUnsuitable, match=r"has no valid schema.*: taskserver doctor --fix") as raised:
        await broker.prepare("default")
    assert str(raised.value).isprintable()
    (finding,) = await health.examine_schema(broker, repair=False)
    assert (finding.level, finding.advice) == ("error", "taskserver doctor --fix")
    (finding,) = await health.examine_schema(broker, repair=True)
    assert finding.level == "repaired"
    await broker.prepare("default")


async def test_something_else_in_its_place_is_refused_and_repaired(broker: Broker) -> None:
    await broker.client(broker.url).hset(SCHEMA, "a", "b")
    with pytest.raises(BrokerUnsuitable, match="holds a value of the wrong type: taskserver doctor --fix"):
        await broker.prepare("default")
    await health.examine_schema(broker, repair=True)
    await broker.prepare("default")


async def test_a_newer_one_is_not_repaired_away(broker: Broker) -> None:
    await broker.client(broker.url).set(SCHEMA, NEWER)
    (finding,) = await health.examine_schema(broker, repair=True)
    assert (finding.level, finding.advice) == ("error", "pip install --upgrade 'agent-taskserver>=9.1.0'")
    assert await broker.client(broker.url).get(SCHEMA) == NEWER.encode()


async def test_it_is_asked_for_once_a_connection(broker: Broker, client: Client) -> None:
    raw = broker.client(broker.url)
    await raw.config_resetstat()
    for _ in range(3):
        await client.submit(work)
    stats = await raw.info("commandstats")
    assert stats["cmdstat_getrange"]["calls"] == stats["cmdstat_set"]["calls"] - 3 == 1, "each submit sets a message"


async def test_it_is_asked_for_again_when_the_broker_was_away(broker: Broker) -> None:
    await broker.prepare("default")
    raw = broker.client(broker.url)
    await raw.set(SCHEMA, NEWER)
    await broker.prepare("other")
    with pytest.raises(BrokerUnavailable), broker.translated():
        raise ConnectionError("it went away")
    with pytest.raises(BrokerUnsuitable):
        await broker.prepare("another")


async def test_a_worker_that_it_has_moved_past_lets_its_jobs_end_and_says_why(
    client: Client, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_watcher, "LOOK_SECONDS", 0.05)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def hold() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    broker = Broker(broker_url)
    worker = Worker(broker, Toolbox.of(hold), WorkerConfig())
    life = asyncio.create_task(worker.run())
    job = await client.submit(hold)
    await begun.wait()
    await broker.client(broker.url).set(SCHEMA, NEWER)
    await worker.until_stopping()
    assert not life.done()
    go_on.set()
    with pytest.raises(BrokerUnsuitable, match=UPGRADE):
        await life
    assert await job.result(timeout=PATIENCE) == "done"
    await broker.close()


async def test_a_full_broker_may_be_used_without_one(broker: Broker) -> None:
    raw = broker.client(broker.url)
    await raw.config_set("maxmemory", 1)
    try:
        await broker.check_schema()
        assert not await raw.exists(SCHEMA)
    finally:
        await raw.config_set("maxmemory", 0)


def test_what_stands_there() -> None:
    assert Schema.parse(str(CURRENT)) == CURRENT
