"""Many jobs at once: the loop stays free, and an error says which of them the broker has."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from taskserver import Client
from taskserver.config.settings import settings
from taskserver.errors import BrokerFull, BrokerUnavailable
from tests.brokers import Server, kinds
from tests.clients import broker_of
from tests.conftest import Eventually

CALLS = 20_000


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    return one_broker_url


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(max(kinds().values()), "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.close()


async def test_the_event_loop_stays_free(client: Client) -> None:
    prepared, most = 0, 0

    def calls() -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal prepared
        for number in range(CALLS):
            prepared += 1
            yield "anything", {"number": number}

    async def watch() -> None:
        nonlocal most
        while True:
            before = prepared
            await asyncio.sleep(0)
            most = max(most, prepared - before)

    watching = asyncio.create_task(watch())
    assert len(await client.submit_many(calls())) == CALLS
    watching.cancel()
    assert most < CALLS / 4


async def test_when_the_broker_dies_the_error_lists_what_it_had_acknowledged(
    server: Server, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setenv("TASKSERVER_PATIENCE", "0.1")
    settings.cache_clear()
    async with Client(server.url) as client:
        broker = await broker_of(client)
        lane = broker.keys("default").lane("normal")
        submitting = asyncio.create_task(client.submit_many([("anything", {})] * CALLS))

        async def some_are_there() -> bool:
            return int(await broker.client(broker.url).xlen(lane)) > CALLS / 10

        await eventually(some_are_there)
        server.kill()
        with pytest.raises(BrokerUnavailable) as caught:
            await submitting
        acknowledged = [id_ for id_ in caught.value.acknowledged if id_]
        assert len(caught.value.acknowledged) == CALLS
        assert 0 < len(acknowledged) < CALLS
        assert str(caught.value).endswith(f"; of 20,000 jobs, {len(acknowledged):,} are acknowledged")
        await asyncio.to_thread(server.start)
        assert int(await broker.client(broker.url).xlen(lane)) >= len(acknowledged)
        for id_ in acknowledged[::50]:
            assert (await client.job(id_).status()).state == "queued"
    settings.cache_clear()


async def test_when_the_broker_is_full_the_error_lists_what_is_stored(client: Client) -> None:
    broker = await broker_of(client)
    raw = broker.client(broker.url)
    await client.submit("anything")
    await raw.config_set("maxmemory", (await raw.info("memory"))["used_memory"] + 4_000_000)
    try:
        with pytest.raises(BrokerFull) as caught:
            await client.submit_many([("anything", {"text": "x" * 10_000})] * 1_500)
    finally:
        await raw.config_set("maxmemory", 0)
    acknowledged = [id_ for id_ in caught.value.acknowledged if id_]
    assert 0 < len(acknowledged) < 1_500 == len(caught.value.acknowledged)
    assert await raw.xlen(broker.keys("default").lane("normal")) == len(acknowledged) + 1
