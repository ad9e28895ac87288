"""RQ: a worker runs one job at a time, each in a fork. ``enqueue_many`` is one pipeline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue, Worker

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import TTL, URL, Producer, serve


class OnRq(Producer):
    """Submits over one connection."""

    blocking = True

    async def open(self) -> None:
        """Connect."""
        self.redis = Redis.from_url(URL)
        self.queue = Queue("bench", connection=self.redis)

    async def close(self) -> None:
        """Disconnect."""
        self.redis.close()

    async def submit(self, task: str, value: Any) -> Any:
        """One enqueue."""
        return self.queue.enqueue(tasks.BLOCKING[task], value, result_ttl=TTL)

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Any]:
        """One pipeline."""
        call = tasks.BLOCKING[task]
        return list(self.queue.enqueue_many([Queue.prepare_data(call, (value,), result_ttl=TTL) for value in values]))

    async def result(self, handle: Any) -> Any:
        """Blocks in a stream read."""
        return handle.latest_result(timeout=300).return_value


def work() -> None:
    """The default worker, which its docs name for production; quiet."""
    redis = Redis.from_url(URL)
    Worker([Queue("bench", connection=redis)], connection=redis).work(logging_level=logging.getLevelName(logging.ERROR))


if __name__ == "__main__":
    serve(OnRq, work)
