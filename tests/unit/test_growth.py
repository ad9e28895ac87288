"""What a process remembers is bounded, however long it lives and whatever it has used."""

import pytest

from taskserver import Client, tool
from taskserver.client import client as client_module
from taskserver.store.broker import connection
from tests.clients import broker_of


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    return one_broker_url


async def test_a_queue_for_each_customer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_QUEUES", 10)
    for number in range(50):
        await client.submit("anything", queue=f"customer-{number}")
    broker = await broker_of(client)
    assert len(broker._keys) <= 10
    assert len(broker._scripts) <= 12  # some are of no queue
    assert len(broker._preparer.prepared) <= 10
    assert (await (await client.submit("anything", queue="customer-0")).status()).state == "queued"


async def test_tools_that_are_made_while_the_program_runs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_TOOLS", 10)

    def made(number: int) -> object:
        @tool(name=f"made_{number}")
        async def each(value: int) -> int:
            return value

        return each

    for number in range(50):
        job = await client.submit(made(number), {"value": number})  # type: ignore[call-overload]
        assert (await job.status()).tool == f"made_{number}"
    assert len(client._tools) <= 10
    assert len(client._declarations) <= 10
