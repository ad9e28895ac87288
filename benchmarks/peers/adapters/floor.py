"""The floor: our scripts without our product around them, in a bare loop on one blocking connection.

It shows how far the product is from its own limit. It cannot wait for results or run anything; each "run" is only
marked, as a job that does nothing would be.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.floor import drain_floor
from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, URL, Producer, serve
from taskserver.domain.ids import KeyMaker, new_route
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.script_connection import run_in_thread
from taskserver.store.scripts import script

QUEUE = "bench"
BATCH = 500


class Floor(Producer):
    """Packs each job's arguments and nothing else."""

    blocking = True

    async def open(self) -> None:
        """Connect; makes the consumer groups."""
        self.broker = Broker(URL, patience=10)
        await self.broker.prepare(QUEUE)
        self.client = self.broker.connections.threaded(self.broker.url)
        self.new_key = KeyMaker(new_route())

    async def close(self) -> None:
        """Disconnect."""
        self.client.close()
        await self.broker.close()

    async def submit(self, task: str, value: Any) -> Any:
        """One script call."""
        return self._send([value])

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Any]:
        """A script call for every 500."""
        for start in range(0, len(values), BATCH):
            self._send(values[start : start + BATCH])
        return []

    def _send(self, values: Sequence[Any]) -> None:
        args: list[Any] = []
        for value in values:
            args += (self.new_key(), msgspec.msgpack.encode({"value": value}), b"")
        run_in_thread(self.client, script("submit"), self.broker.keys(QUEUE).of_scripts, args)


def work() -> None:
    """Claim and finish until killed."""
    asyncio.run(_work())


async def _work() -> None:
    broker = Broker(URL, patience=10)
    await broker.prepare(QUEUE)
    drain_floor(broker, QUEUE, 10**12, CONCURRENCY, lambda jobs: os.write(tasks.RUNS, bytes(8 * jobs)))


if __name__ == "__main__":
    serve(Floor, work)
