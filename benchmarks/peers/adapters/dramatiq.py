"""dramatiq: threads. Eight a process, its default, for work that does not wait; as many as asked for work that does."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, WORK, Producer, serve

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL), store_results=True, result_ttl=TTL * 1000))
dramatiq.set_broker(broker)
ACTORS: dict[str, Any] = {
    name: dramatiq.actor(body, actor_name=name, queue_name="bench") for name, body in tasks.BLOCKING.items()
}


class OnDramatiq(Producer):
    """Submits over the broker's pool."""

    blocking = True

    async def submit(self, task: str, value: Any) -> Any:
        """One script call."""
        return ACTORS[task].send(value)

    async def result(self, handle: Any) -> Any:
        """Blocks in a pop and push."""
        return handle.get_result(block=True, timeout=300_000)


def work() -> None:
    """What each process of ``dramatiq`` runs."""
    dramatiq.Worker(broker, worker_threads=CONCURRENCY if WORK == "pause" else 8).start()
    threading.Event().wait()


if __name__ == "__main__":
    serve(OnDramatiq, work)
