"""taskiq with the streams broker of taskiq-redis, the one of its brokers that acknowledges.

Its docs: uvloop is used where it is installed; ``--max-async-tasks`` is the concurrency; results should expire.
``--max-prefetch`` is set to the concurrency, so that the next message is there when a slot falls free.
"""

from __future__ import annotations

from typing import Any

import uvloop
from taskiq import AsyncBroker
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import start_listen
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, PROCESSES, TTL, URL, Producer, serve


def _broker() -> AsyncBroker:
    results: Any = RedisAsyncResultBackend(URL, result_ex_time=TTL)
    return RedisStreamBroker(URL, queue_name="bench", consumer_id="0").with_result_backend(results)


def _tasks(broker: AsyncBroker) -> dict[str, Any]:
    bodies = {**tasks.ASYNC, "burn": tasks.burn}
    return {name: broker.register_task(body, task_name=name) for name, body in bodies.items()}


broker = _broker()
TASKS = _tasks(broker)


class OnTaskiq(Producer):
    """Submits over the broker's pool."""

    async def open(self) -> None:
        """Connect; makes the consumer group, which reads from the stream's start."""
        self.broker = _broker()
        self.tasks = _tasks(self.broker)
        await self.broker.startup()

    async def close(self) -> None:
        """Disconnect."""
        await self.broker.shutdown()

    async def submit(self, task: str, value: Any) -> Any:
        """One XADD."""
        return await self.tasks[task].kiq(value)

    async def result(self, handle: Any) -> Any:
        """Polled every millisecond; every 200 by default."""
        return (await handle.wait_result(check_interval=0.001, timeout=300)).return_value


def work() -> None:
    """What ``taskiq worker`` runs in each of its processes."""
    start_listen(
        WorkerArgs(
            broker=broker,
            modules=[],
            configure_logging=False,
            max_async_tasks=CONCURRENCY,
            max_prefetch=CONCURRENCY,
            use_process_pool=PROCESSES,
        )
    )


if __name__ == "__main__":
    serve(OnTaskiq, work, uvloop.run)
