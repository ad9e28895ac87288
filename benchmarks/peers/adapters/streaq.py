"""streaq: uvloop through anyio; ``enqueue_many`` is one pipeline; prefetch is the concurrency, its default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import uvloop
from streaq import Worker

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, Producer, serve

worker: Any = Worker(
    redis_url=URL,
    redis_kwargs={"max_connections": 20_000},  # each awaited result holds one; with its own limit they wait for ever
    queue_name="bench",
    concurrency=CONCURRENCY,
    anyio_kwargs={"use_uvloop": True},
    handle_signals=False,
)
TASKS = {name: worker.task(ttl=TTL)(body) for name, body in {**tasks.ASYNC, "burn": tasks.burn}.items()}


class OnStreaq(Producer):
    """Submits through the worker object's own connections."""

    async def open(self) -> None:
        """Connect."""
        self.scope = worker.__asynccontextmanager__()
        await self.scope.__aenter__()

    async def close(self) -> None:
        """Disconnect."""
        await self.scope.__aexit__(None, None, None)

    async def submit(self, task: str, value: Any) -> Any:
        """One enqueue."""
        return await TASKS[task].enqueue(value)

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Any]:
        """One pipeline for every thousand: it starts an asyncio task for each job that it serializes."""
        handles = [TASKS[task].enqueue(value) for value in values]
        for start in range(0, len(handles), 1000):
            await worker.enqueue_many(handles[start : start + 1000])
        return handles

    async def result(self, handle: Any) -> Any:
        """A subscription for each."""
        return (await handle.result(timeout=300)).result


if __name__ == "__main__":
    serve(OnStreaq, worker.run_sync, uvloop.run)
