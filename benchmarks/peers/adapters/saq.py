"""SAQ: one slot is one blocked connection; its README advises hiredis. ``enqueue`` is a script, there is no batch."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import uvloop
from saq import Queue, Worker

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, Producer, serve


def _function(name: str, body: tasks.Body) -> tuple[str, Any]:
    async def run(ctx: dict[str, Any], *, value: Any) -> Any:
        return await body(value)

    return name, run


async def _burn(value: float) -> int:
    return await asyncio.to_thread(tasks.burn, value)


FUNCTIONS = [_function(name, body) for name, body in {**tasks.ASYNC, "burn": _burn}.items()]


class OnSaq(Producer):
    """Submits over the queue's pool."""

    async def open(self) -> None:
        """Connect."""
        self.queue = Queue.from_url(URL, name="bench")
        await self.queue.connect()

    async def close(self) -> None:
        """Disconnect."""
        await self.queue.disconnect()

    async def submit(self, task: str, value: Any) -> Any:
        """One script call."""
        return await self.queue.enqueue(task, value=value, ttl=TTL, timeout=0)

    async def result(self, handle: Any) -> Any:
        """Looks, then listens. It misses what happens in between, so it looks again, less and less often."""
        wait = 0.01
        while not handle.completed:
            with contextlib.suppress(TimeoutError):
                await handle.refresh(until_complete=wait)
            wait = min(2 * wait, 1)
        return handle.result


async def work() -> None:
    """A worker in this process."""
    queue = Queue.from_url(URL, name="bench")
    await queue.connect()
    await Worker(queue, FUNCTIONS, concurrency=CONCURRENCY).start()


if __name__ == "__main__":
    serve(OnSaq, lambda: uvloop.run(work()), uvloop.run)
