"""The broker through the inspector: examined, repaired, and read for metrics."""

import pytest
import redis

from taskserver import BrokerUnavailable, Client, ConfigError, Inspector, State


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
    gauges = await inspector.gauges()
    assert ([queue.name for queue in gauges.queues], gauges.workers) == (["default", "mail"], [])
    assert [queue.name for queue in (await inspector.gauges("mail")).queues] == ["mail"]
    (later,) = (await inspector.gauges("later")).queues
    assert (later.name, sum(later.ready.values()), later.running, later.dead, later.workers) == ("later", 0, 0, 0, [])
    assert [queue.name for queue in await inspector.queues()] == ["default", "mail"], "to ask creates none"


async def test_a_broker_that_is_down_or_a_url_that_cannot_work() -> None:
    with pytest.raises(ConfigError):
        await Inspector("http://localhost").connect()
    async with Inspector("redis://127.0.0.1:1") as inspector:
        with pytest.raises(BrokerUnavailable):
            await inspector.check()
    await inspector.close()  # harmless
