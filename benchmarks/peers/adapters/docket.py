"""docket: ``add_many`` sends pipelines of a thousand; a worker's checks are every 10 ms instead of 250."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import uvloop
from docket import Docket, Worker

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, Producer, serve


async def burn(value: float) -> int:
    """It runs coroutines only; its docs say to use a thread for the rest."""
    return await asyncio.to_thread(tasks.burn, value)


TASKS: dict[str, Any] = {**tasks.ASYNC, "burn": burn}
CHECK = timedelta(milliseconds=10)
WHERE = f"{URL}?max_connections=20000"
"""With the pool of a hundred that redis-py has by itself, jobs fail at concurrency 100 for want of a connection."""


def _docket() -> Docket:
    docket = Docket(name="bench", url=WHERE, execution_ttl=timedelta(seconds=TTL))
    for body in TASKS.values():
        docket.register(body)
    return docket


class OnDocket(Producer):
    """Submits over the docket's pool."""

    async def open(self) -> None:
        """Connect."""
        self.docket = _docket()
        await self.docket.__aenter__()

    async def close(self) -> None:
        """Disconnect."""
        await self.docket.__aexit__(None, None, None)

    async def submit(self, task: str, value: Any) -> Any:
        """One add."""
        return await self.docket.add(TASKS[task])(value)

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Any]:
        """A pipeline for every thousand."""
        return list(await self.docket.add_many([self.docket.call(TASKS[task])(value) for value in values]))

    async def result(self, handle: Any) -> Any:
        """A subscription for each."""
        return await handle.get_result(timeout=timedelta(seconds=300))


async def work() -> None:
    """A worker in this process."""
    async with (
        _docket() as docket,
        Worker(docket, concurrency=CONCURRENCY, minimum_check_interval=CHECK, scheduling_resolution=CHECK) as worker,
    ):
        await worker.run_forever()


if __name__ == "__main__":
    serve(OnDocket, lambda: uvloop.run(work()), uvloop.run)
