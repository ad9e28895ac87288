"""Work under way while something happens to the broker: producers that keep submitting, workers that keep running."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from taskserver import BrokerError, Client, Job, JobNotFound, State, Toolbox, Worker, WorkerConfig, tool
from taskserver.store.broker.connection import Broker
from tests.patience import PATIENCE

PRODUCERS = 4


class Load:
    """What was acknowledged, and what ran.

    Attributes:
        acknowledged: Job by its number, for each submit that returned.
        refused: The errors of submits that raised; each was repeated with the same key until it returned.
        runs: How often each number's job ran.
        lost: The numbers of acknowledged jobs that the broker knows nothing of in the end.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[int, Job[int]] = {}
        self.refused: list[BrokerError] = []
        self.runs: Counter[int] = Counter()
        self.lost: list[int] = []
        self._ran = asyncio.Condition()
        self._numbers = iter(range(10**9))

    async def ran(self, more: int = 50) -> None:
        """Wait until so many jobs more than now have run: the work continues."""
        async with asyncio.timeout(PATIENCE), self._ran:
            wanted = self.runs.total() + more
            await self._ran.wait_for(lambda: self.runs.total() >= wanted)

    async def unknown(self) -> list[int]:
        """Wait until every acknowledged job has ended; the numbers of those of which nothing is known any more."""
        unknown = []
        async with asyncio.timeout(PATIENCE):
            for number, job in self.acknowledged.items():
                try:
                    assert await job.result() == number
                    assert (await job.status()).state is State.SUCCEEDED
                except JobNotFound:
                    unknown.append(number)
        return unknown

    def again(self) -> int:
        """How many jobs ran more than once."""
        return sum(runs > 1 for runs in self.runs.values())

    async def produce(self, client: Client, queue: str) -> None:
        """Submit one job after the other."""
        while True:
            number = next(self._numbers)
            key = f"number {number}"
            while number not in self.acknowledged:
                try:
                    job = await client.submit("note", {"number": number}, queue=queue, idempotency_key=key)
                    self.acknowledged[number] = job
                except BrokerError as error:
                    self.refused.append(error)
                    await asyncio.sleep(0.05)

    async def note(self, number: int) -> int:
        """The tool."""
        async with self._ran:
            self.runs[number] += 1
            self._ran.notify_all()
        return number


@asynccontextmanager
async def under_load(
    url: str, *, queues: Sequence[str] = ("default",), durability: str = "memory"
) -> AsyncIterator[Load]:
    """Producers for each queue and a worker on all of them; when the block ends, the producers have stopped."""
    load = Load()

    @tool(timeout=30, max_retries=20)
    async def note(number: int) -> int:
        """Note that this number's job runs."""
        return await load.note(number)

    broker = Broker(url)
    worker = Worker(broker, Toolbox.of(note), WorkerConfig(queues=tuple(queues), concurrency=8, lease=2.0))
    working = asyncio.create_task(worker.run())
    async with Client(url, durability=durability) as client:
        producers = [
            asyncio.create_task(load.produce(client, queues[i % len(queues)]))
            for i in range(max(PRODUCERS, len(queues)))
        ]
        try:
            await load.ran()
            yield load
            for producer in producers:
                producer.cancel()
            await asyncio.wait(producers)
            load.lost = await load.unknown()
        finally:
            for producer in producers:
                producer.cancel()
            worker.stop()
            await working
            await broker.close()
