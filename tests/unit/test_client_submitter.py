"""Submits that share calls: each caller gets its own job's outcome, and none is left waiting."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskserver import Client, Job, tool
from taskserver.client import submitter
from taskserver.domain.ids import parse
from taskserver.errors import BrokerFull, BrokerUnavailable
from taskserver.store.broker.connection import Broker
from tests.brokers import Server, kinds
from tests.clients import broker_of
from tests.patience import PATIENCE


@tool
async def answer() -> int:
    return 42


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    return one_broker_url


async def test_an_unexpected_error_of_a_submit_is_raised(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(submitter.submitting, "submit", fail)
    results = await asyncio.wait_for(
        asyncio.gather(*(client.submit(answer) for _ in range(3)), return_exceptions=True), 10
    )
    assert [str(error) for error in results] == ["a bug"] * 3


async def test_concurrent_submits_share_calls(client: Client, broker: Broker) -> None:
    await client.submit(answer)
    await broker.client(broker.url).config_resetstat()
    await asyncio.gather(*(client.submit(answer) for _ in range(300)))
    assert (await broker.client(broker.url).info("commandstats"))["cmdstat_evalsha"]["calls"] <= 3


async def test_closing_lets_submits_that_have_begun_arrive(one_broker_url: str, broker: Broker) -> None:
    async with Client(one_broker_url) as client:
        submits = [asyncio.create_task(client.submit(answer)) for _ in range(10)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*submits)) == 10
    assert await broker.client(broker.url).xlen(broker.keys("default").lane("normal")) == 10


@pytest.fixture(params=sorted(kinds()))
async def small_server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server whose memory is full after some hundred jobs of 10 kB."""
    server = Server(kinds()[request.param], "--maxmemory", "6mb", "--maxmemory-policy", "noeviction").start()
    yield server
    server.close()


async def test_what_is_stored_is_acknowledged_and_what_is_not_is_refused(small_server: Server) -> None:
    async with Client(small_server.url) as client:
        submits = (client.submit("anything", {"text": "x" * 10_000}) for _ in range(1_500))
        outcomes = await asyncio.gather(*submits, return_exceptions=True)
        acknowledged = {parse(outcome.id).key for outcome in outcomes if isinstance(outcome, Job)}
        refused = [outcome for outcome in outcomes if isinstance(outcome, BrokerFull)]
        broker = await broker_of(client)
        prefix = broker.keys("default").job("")
        names = [name async for name in broker.client(broker.url).scan_iter(f"{prefix}*", count=1_000)]
    assert len(acknowledged) + len(refused) == 1_500
    assert acknowledged
    assert refused
    assert {name.decode().removeprefix(prefix) for name in names} == acknowledged


async def test_a_caller_that_leaves_takes_no_other_along(client: Client) -> None:
    await client.submit(answer)
    submits = [asyncio.create_task(client.submit(answer)) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # their batch is on its way
    submits[3].cancel()
    done, hanging = await asyncio.wait(submits, timeout=PATIENCE)
    assert not hanging
    assert [submit.cancelled() for submit in submits] == [number == 3 for number in range(10)]
    assert all(submit.result().id for submit in done if not submit.cancelled())


@pytest.mark.parametrize("turns", [1, 2], ids=["before it begins", "on its way"])
async def test_a_batch_that_is_cancelled_leaves_no_caller_waiting(client: Client, turns: int) -> None:
    await client.submit(answer)
    submits = [asyncio.create_task(client.submit(answer)) for _ in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    (flush,) = [task for task in asyncio.all_tasks() if task.get_name() == "submit to default"]
    flush.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*submits, return_exceptions=True), PATIENCE)
    assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3  # each adds its own traceback
    assert await client.submit(answer)
