"""The store's tests run on every broker at hand, on an empty queue."""

from __future__ import annotations

import pytest

from taskserver.store.broker.connection import Broker
from tests.store.harness import QUEUE, Queue


@pytest.fixture
async def queue(broker: Broker) -> Queue:
    """The queue under test, with its streams and groups."""
    await broker.prepare(QUEUE)
    return Queue(broker)
