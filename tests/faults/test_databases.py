"""The databases of a server share its channels: what happens in one of them is not heard in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import redis.asyncio

from taskserver import Client, JobCancelled, tool
from taskserver.domain import ids
from taskserver.domain.fleet import Action, FleetCommand
from taskserver.domain.job import NewJob
from taskserver.store.broker import control
from taskserver.store.broker.connection import Broker
from taskserver.testing import running_worker
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.store.harness import LONG_MS, PAYLOAD, Queue, says, submit_all, succeed

OTHER = "?db=3"


@asynccontextmanager
async def channels_of(url: str) -> AsyncIterator[set[str]]:
    """The channels on which anything is published inside the block."""
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as heard:
        await heard.psubscribe("*")
        await heard.parse_response()
        found: set[str] = set()
        yield found
        await client.publish("end", "")
        while (message := await heard.get_message(timeout=PATIENCE)) and message["channel"] != b"end":
            found.add(message["channel"].decode())


async def publish_everything(broker: Broker) -> set[str]:
    """Do all that publishes something; the channels on which somebody listens for it."""
    queue = Queue(broker)
    job = await queue.running()
    await queue.report(says(job, 1, "words"))
    await queue.cancel(job.key)
    await queue.settle(succeed(job))
    await queue.submit(delay_ms=LONG_MS)
    keyed = ids.key_for("nightly")
    await submit_all(broker, queue.keys.queue, [NewJob(keyed, PAYLOAD)])
    await queue.cancel(keyed)
    await control.publish(broker, queue.keys.queue, control.RESUME)
    await control.send_command(broker, queue.keys.queue, FleetCommand(id="1", action=Action.STOP, whom="nobody"))
    done = {queue.keys.done(ids.route_of(key)) for key in (job.key, keyed)}
    return {*done, queue.keys.control, queue.keys.commands}


async def test_no_channel_is_shared(broker_url: str) -> None:
    heard = []
    for url in (broker_url, broker_url + OTHER):
        broker = Broker(url)
        async with channels_of(broker_url) as channels:
            listened = await publish_everything(broker)
        await broker.close()
        assert channels == listened
        heard.append(channels)
    assert heard[0] & heard[1] == set()


@tool(max_retries=0)
async def hold(name: str) -> str:
    ready = holding[name]
    ready.started.set()
    await ready.go.wait()
    return name


class Holding:
    def __init__(self) -> None:
        self.started, self.go = asyncio.Event(), asyncio.Event()


holding: dict[str, Any] = {}


async def both_listen(url: str) -> bool:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        channels = await client.pubsub_channels("*done*")
        return sum(count for _, count in await client.pubsub_numsub(*channels)) == 2


@pytest.mark.parametrize("cancelled", [False, True])
async def test_jobs_of_the_same_key_have_each_their_own_end(
    one_broker_url: str, eventually: Eventually, cancelled: bool
) -> None:
    urls = {"first": one_broker_url, "second": one_broker_url + OTHER}
    holding.update({name: Holding() for name in urls})
    async with (
        running_worker(hold, url=urls["first"]),
        running_worker(hold, url=urls["second"]),
        Client(urls["first"]) as first,
        Client(urls["second"]) as second,
    ):
        one = await first.submit(hold, {"name": "first"}, idempotency_key="nightly")
        other = await second.submit(hold, {"name": "second"}, idempotency_key="nightly")
        assert one.id == other.id
        results = asyncio.gather(one.result(PATIENCE), other.result(PATIENCE), return_exceptions=True)
        await asyncio.gather(*(each.started.wait() for each in holding.values()))
        await eventually(partial(both_listen, one_broker_url))
        if cancelled:
            await other.cancel()
            with pytest.raises(JobCancelled):
                await other.result(PATIENCE)
        else:
            holding["second"].go.set()
            assert await other.result(PATIENCE) == "second"
        holding["first"].go.set()
        assert await one.result(PATIENCE) == "first"
        mine, theirs = await results
    assert mine == "first"
    assert isinstance(theirs, JobCancelled) if cancelled else theirs == "second"
