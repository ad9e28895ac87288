"""tarsk: a Rust supervisor with one child that runs Python; ``--slots`` is the concurrency. Its submit blocks."""

from __future__ import annotations

import asyncio
from typing import Any

from tarsk import App

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, Producer, serve

app = App(broker=URL)
TASKS = {
    name: app.task(name=name, queue="bench", result_ttl=TTL)(body)
    for name, body in {**tasks.ASYNC, "burn": tasks.burn}.items()
}


class OnTarsk(Producer):
    """Submits through the app, which stays connected."""

    async def submit(self, task: str, value: Any) -> Any:
        """In a thread, as its docs say for asyncio."""
        return await TASKS[task].send_async(value)

    async def result(self, handle: Any) -> Any:
        """Polled every millisecond; every 50 by default."""
        return await app.result(handle).get_async(timeout=300, poll=0.001)


def work() -> None:
    """What ``tarsk worker`` does."""
    from tarsk._cli import main

    where = ["--app", "benchmarks.peers.adapters.tarsk:app", "--broker", URL, "--queues", "bench"]
    main(["worker", *where, "--children", "1", "--slots", str(CONCURRENCY)])


if __name__ == "__main__":
    serve(OnTarsk, work, asyncio.run)
