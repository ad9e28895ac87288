"""taskserver, as anyone would use it: typed submits by function, ``submit_many`` for batches, uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import uvloop

from benchmarks.peers.adapters import our_tools, tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, URL, Producer, serve
from taskserver import Client, Job, tool
from taskserver.testing import running_worker

QUEUE = "bench"
TOOLS = {**{name: tool(body) for name, body in tasks.ASYNC.items()}, "burn": our_tools.burn}


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


async def work() -> None:
    """The services that ``taskserver worker`` runs, in the same event loop."""
    async with running_worker(*TOOLS.values(), url=URL, queues=(QUEUE,), concurrency=CONCURRENCY):
        await asyncio.Event().wait()


if __name__ == "__main__":
    serve(Ours, lambda: uvloop.run(work()), uvloop.run)
