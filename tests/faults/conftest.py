"""Faults are tried on the store's test queue, on servers of every kind, and in a network that a test can break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import resources

import pytest

from taskserver.store.broker import connections, subscription
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import claim
from taskserver.store.queries.outcomes import read_outcomes
from taskserver.store.scripts import script
from tests.brokers import kinds
from tests.faults.proxy import Proxy
from tests.patience import PATIENCE
from tests.store.conftest import queue

__all__ = ["binary", "hasty", "proxy", "queue"]

# Assertions of the simulation tell what they compared.
pytest.register_assert_rewrite("tests.faults.simulation")


@pytest.fixture(params=sorted(name for name, where in kinds().items() if "://" not in where))
def binary(request: pytest.FixtureRequest) -> str:
    """Path of a server; the test runs once for each kind at hand."""
    return kinds()[request.param]


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    """A proxy before an empty broker that knows all scripts: so each call of one is one request."""
    for file in (resources.files("taskserver.store") / "lua").iterdir():
        if file.is_file():
            await broker.client(broker.url).script_load(script(file.name.removesuffix(".lua")).text)
    broker.patience = PATIENCE
    await read_outcomes(broker, "any", ["any"])  # so that both its connections are made, and are not hasty
    proxy = Proxy(broker.url)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noticed after five seconds otherwise, is noticed after half a second."""
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(connections, "BLOCK_SECONDS", 0.3)
    monkeypatch.setattr(claim, "BLOCK_SECONDS", 0.3)
    monkeypatch.setattr(subscription, "SILENCE_SECONDS", 0.3)
