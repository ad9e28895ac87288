"""taskserver, as anyone would use it: typed submits by function, ``submit_many`` for batches, uvloop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import uvloop

from benchmarks.peers.adapters import our_tools, tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, URL, Producer, serve
from taskserver import Client, Job, WorkerConfig
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.runtime import run_alone

QUEUE = "bench"
TOOLS: dict[str, Callable[..., Any]] = {name: getattr(our_tools, name) for name in (*tasks.ASYNC, "burn")}


class Ours(Producer):
    """Submits with one client; results are kept for a day, as by default."""

    async def open(self) -> None:
        """Connect."""
        self.client = Client(URL, queue=QUEUE)
        await self.client.connect()

    async def close(self) -> None:
        """Disconnect."""
        await self.client.close()

    async def submit(self, task: str, value: Any) -> Job[Any]:
        """What is submitted in the same turn of the event loop goes as one batch."""
        return await self.client.submit(TOOLS[task], {"value": value})

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Job[Any]]:
        """One script call for every 500 jobs."""
        return await self.client.submit_many([(TOOLS[task], {"value": value}) for value in values])

    async def result(self, handle: Job[Any]) -> Any:
        """One subscription wakes any number of waiters."""
        return await handle.result(timeout=300)


def work() -> None:
    """What the command ``taskserver worker`` comes to."""
    config = WorkerConfig(queues=(QUEUE,), concurrency=CONCURRENCY)
    run_alone(Assignment(modules=(our_tools.__name__,), worker=config, broker_url=URL, loglevel="warning"))


if __name__ == "__main__":
    serve(Ours, work, uvloop.run)
