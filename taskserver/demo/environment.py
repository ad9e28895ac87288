"""The demo's environment: a temporary folder, and a broker or at least a queue of its own."""

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


class DemoEnvironment(NamedTuple):
    """Where the demo runs.

    Attributes:
        url: The broker.
        queue: A queue that nobody else uses.
        folder: A temporary folder, removed at the end.
        variables: Environment variables that point a worker to the broker. (A URL may hold a password, so it is no
            argument of a command.)
        shown: The broker, for people.
    """

    url: str
    queue: str
    folder: Path
    variables: dict[str, str]
    shown: str


@contextmanager
def make_environment(url: str | None) -> Iterator[DemoEnvironment]:
    """An environment with the broker at ``url``, or with an embedded broker that stops after the block.

    Raises:
        BrokerUnavailable: if the embedded broker cannot be started.
    """
    queue = f"demo-{secrets.token_hex(4)}"
    with TemporaryDirectory(prefix="taskserver-demo-") as name:
        folder = Path(name).resolve()
        if url is not None:
            yield DemoEnvironment(url, queue, folder, {"TASKSERVER_BROKER_URL": url}, without_secrets(url))
            return
        with _embedded_broker(folder / "home") as status:
            variables = {"TASKSERVER_HOME": str(status.home)}
            shown = f"embedded, {status.version}, started for this demo"
            yield DemoEnvironment(status.url, queue, folder, variables, shown)


@contextmanager
def _embedded_broker(home: Path) -> Iterator[embedded.EmbeddedStatus]:
    try:
        with embedded.EmbeddedBroker.acquire(home):
            yield embedded.status(home)
    finally:
        embedded.stop(home, force=True)  # it would stop by itself soon; this waits until it has


async def delete_queue(broker: Broker, queue: str) -> None:
    """Delete every key of a queue."""
    prefix = broker.keys(queue).prefix

    async def delete(client: Any) -> None:
        async for key in client.scan_iter(match=f"{prefix}*", count=500):
            await client.unlink(key)

    await broker.ask(prefix, delete)
    await broker.ask(QUEUES, lambda client: client.srem(QUEUES, queue))
