"""The worker for users' own tests is ready when its block begins, and raises when it cannot work."""

from __future__ import annotations

import pytest

from taskserver import Client, tool
from taskserver.errors import BrokerUnsuitable
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues
from taskserver.testing import running_worker
from tests.patience import PATIENCE


@tool
async def triple(number: int) -> int:
    return 3 * number


async def test_it_runs_jobs_for_as_long_as_the_block(broker_url: str, broker: Broker) -> None:
    async with running_worker(triple, url=broker_url) as worker, Client(broker_url) as client:
        assert (await queues.info(broker, "default")).workers == [worker.name]
        assert await (await client.submit(triple, {"number": 2})).result(timeout=PATIENCE) == 6
    assert (await queues.info(broker, "default")).workers == []


async def test_a_broker_that_will_not_do_is_told_when_the_block_begins(broker_url: str, broker: Broker) -> None:
    await broker.client(broker.url).config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(BrokerUnsuitable, match="noeviction"):
            async with running_worker(triple, url=broker_url):
                pytest.fail("the block began")
    finally:
        await broker.client(broker.url).config_set("maxmemory-policy", "noeviction")
