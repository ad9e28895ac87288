"""Where the demo happens: a private folder, and a broker that knows nothing of anybody's jobs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from taskserver import embedded
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.urls import without_secrets
from taskserver.store.keys import QUEUES


class Place(NamedTuple):
    """The demo's surroundings.

    Attributes:
        url: The broker.
        queue: A queue that nobody else uses.
        folder: Private, and gone at the end.
        environment: What makes a worker find the same broker. Not an argument: a URL may hold a password.
        shown: The broker in words.
    """

    url: str
    queue: str
    folder: Path
    environment: dict[str, str]
    shown: str


@contextmanager
def make_place(url: str | None) -> Iterator[Place]:
    """A place with the broker at ``url``, or with an embedded one of its own that ends with the block.

    Raises:
        BrokerUnavailable: if the embedded broker cannot be started.
    """
    queue = f"demo-{secrets.token_hex(4)}"
    with TemporaryDirectory(prefix="taskserver-demo-") as name:
        folder = Path(name).resolve()
        if url is not None:
            yield Place(url, queue, folder, {"TASKSERVER_BROKER_URL": url}, without_secrets(url))
            return
        with _embedded_broker(folder / "home") as status:
            environment = {"TASKSERVER_HOME": str(status.home)}
            yield Place(status.url, queue, folder, environment, f"embedded, {status.version}, started for this demo")


@contextmanager
def _embedded_broker(home: Path) -> Iterator[embedded.EmbeddedStatus]:
    try:
        with embedded.EmbeddedBroker.acquire(home):
            yield embedded.status(home)
    finally:
        embedded.stop(home, force=True)  # it would go by itself soon; here we wait until it has


async def forget_queue(broker: Broker, queue: str) -> None:
    """Delete everything that a broker keeps of a queue."""
    prefix = broker.keys(queue).prefix

    async def forget(client: Any) -> None:
        async for key in client.scan_iter(match=f"{prefix}*", count=500):
            await client.unlink(key)

    await broker.ask(prefix, forget)
    await broker.ask(QUEUES, lambda client: client.srem(QUEUES, queue))
