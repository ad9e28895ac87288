"""The broker through the inspector: examined, repaired, and read for metrics."""

import pytest
import redis
from prometheus_client import generate_latest

from taskserver import BrokerUnavailable, Client, ConfigError, Inspector, State, tool
from taskserver.cli.cluster_metrics import Cluster, families
from taskserver.observability.metrics import registry_of
from taskserver.store.queries import gauges
from taskserver.store.queries.gauges import GaugeReader
from taskserver.testing import running_worker


@tool
async def consumed() -> None:
    """Make a worker possible."""


async def test_the_servers_alone(inspector: Inspector) -> None:
    subjects = [finding.subject for finding in await inspector.examine_broker()]
    assert (subjects[0], subjects[-1]) == ("server", "schema")


async def test_everything_is_examined_and_repaired(inspector: Inspector, client: Client, broker_url: str) -> None:
    job = await client.submit("anything")
    with redis.Redis.from_url(broker_url) as server:
        server.delete("ts:{default}:lane:normal")
    steps: list[tuple[str, int, int]] = []
    found = await inspector.examine(lambda *step: steps.append(step))
    assert "1 lane without a stream or consumer group: normal" in [finding.text for finding in found]
    assert steps
    assert "repaired" in [finding.level for finding in await inspector.repair()]
    assert (await job.status()).state is State.QUEUED
    assert "repaired" not in [finding.level for finding in await inspector.repair()]


async def test_the_schema_is_read_and_not_recorded(inspector: Inspector, broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as server:
        server.delete("ts:schema")
        schema = await inspector.schema()
        assert ((schema.number, schema.supported), server.exists("ts:schema")) == ((1, True), 0)


async def test_keys_of_a_newer_schema_are_not_examined(inspector: Inspector, broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as server:
        server.set("ts:schema", "2 0.9.0")
    schema = await inspector.schema()
    assert (schema, schema.supported) == ((2, "0.9.0"), False)
    for found in (await inspector.examine(), await inspector.repair()):
        assert (found[-1].subject, found[-1].level) == ("schema", "error")


async def test_gauges(inspector: Inspector, client: Client) -> None:
    await client.submit("anything", queue="mail")
    await client.submit("anything")
    found = await inspector.gauges()
    assert ([queue.name for queue in found.queues], found.workers) == (["default", "mail"], [])
    assert [queue.name for queue in (await inspector.gauges("mail")).queues] == ["mail"]
    (later,) = (await inspector.gauges("later")).queues
    assert (later.name, sum(later.ready.values()), later.running, later.dead, later.workers) == ("later", 0, 0, 0, [])
    assert [queue.name for queue in await inspector.queues()] == ["default", "mail"], "to ask creates none"


async def test_the_backlog_is_what_workers_could_start_soon(inspector: Inspector, client: Client) -> None:
    async def backlog() -> tuple[int, int]:
        (queue,) = (await inspector.gauges("default")).queues
        return queue.backlog, queue.delayed

    assert await backlog() == (0, 0)
    await client.submit_many([("later", {})] * 20, delay=7 * 86_400)
    assert await backlog() == (1, 20), "one worker, to promote them"
    await client.submit_many([("soon", {})] * 5, delay=30)
    await client.submit_many([("now", {})] * 3)
    assert await backlog() == (8, 25)
    await inspector.pause("default")
    assert await backlog() == (0, 25)


async def test_declared_queues_come_first_and_what_is_left_out_is_counted(
    inspector: Inspector,
    client: Client,
    broker_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(gauges, "MOST_QUEUES", 4)
    for name in ("a", "b", "c", "d", "e", "mail"):
        await client.submit("anything", queue=name)
    found = await inspector.gauges(declared=["new", "mail"])
    assert [queue.name for queue in found.queues] == ["new", "mail", "a", "b"]
    assert (found.known, found.left_out) == (6, 3)
    page = generate_latest(registry_of(lambda: families(found), process=False)).decode()
    assert "taskserver_queues_left_out 3.0" in page
    async with running_worker(consumed, url=broker_url, queues=("e",)):
        reading = GaugeReader(await inspector._broker(), declared=["mail"])
        assert [queue.name for queue in (await reading.read()).queues] == ["mail", "e", "a", "b"]
        await reading.close()
    cluster = Cluster(inspector, declared=["mail"])
    await cluster._fresh()
    assert "2 of 6 queues are left out: choose some with --queue" in caplog.text


async def test_a_broker_that_is_down_or_a_url_that_cannot_work() -> None:
    with pytest.raises(ConfigError):
        await Inspector("http://localhost").connect()
    async with Inspector("redis://127.0.0.1:1") as inspector:
        with pytest.raises(BrokerUnavailable):
            await inspector.check()
    await inspector.close()  # harmless
