"""arq: polls, so ``poll_delay`` is 10 ms instead of 500; ``enqueue_job`` is a transaction, there is no batch."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from arq.connections import RedisSettings, create_pool
from arq.worker import Worker, func

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, Producer, serve

POLL = 0.001
"""Seconds between looks at a result; half a second by default."""


def _function(name: str, body: tasks.Body) -> Any:
    async def run(ctx: dict[str, Any], value: Any) -> Any:
        return await body(value)

    return func(run, name=name, max_tries=1)


async def _burn(value: float) -> int:
    return await asyncio.to_thread(tasks.burn, value)


FUNCTIONS = [_function(name, body) for name, body in {**tasks.ASYNC, "burn": _burn}.items()]


class OnArq(Producer):
    """Submits over one pool."""

    async def open(self) -> None:
        """Connect."""
        self.pool = await create_pool(RedisSettings.from_dsn(URL))

    async def close(self) -> None:
        """Disconnect."""
        await self.pool.aclose()

    async def submit(self, task: str, value: Any) -> Any:
        """One transaction."""
        return await self.pool.enqueue_job(task, value)

    async def result(self, handle: Any) -> Any:
        """Polled."""
        return await handle.result(timeout=300, poll_delay=POLL)


def work() -> None:
    """A worker on uvloop; without logging each result."""
    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(
        FUNCTIONS,
        redis_settings=RedisSettings.from_dsn(URL),
        max_jobs=CONCURRENCY,
        poll_delay=0.01,
        keep_result=TTL,
        log_results=False,
        handle_signals=False,
    ).run()


if __name__ == "__main__":
    serve(OnArq, work, uvloop.run)
