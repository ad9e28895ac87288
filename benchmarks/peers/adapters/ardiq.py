"""ardiq: its core is Rust, and holds the connections; one round trip for ``enqueue_many``.

The README: ``prefetch`` is twice the concurrency by default, which it measured itself with; batches are staged
with ``enqueue_many``; CPU-bound functions get ``executor="process"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import uvloop
from ardiq import Ardiq

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, PROCESSES, TTL, URL, Producer, serve

app = Ardiq(redis_url=URL, queue_name="bench", concurrency=CONCURRENCY, result_ttl_ms=TTL * 1000)
TASKS = {name: app.task(body) for name, body in tasks.ASYNC.items()}
TASKS["burn"] = app.task(executor="process" if PROCESSES else "thread")(tasks.burn)


class OnArdiq(Producer):
    """Submits through the app; the core connects on first use and stays connected."""

    async def submit(self, task: str, value: Any) -> Any:
        """One enqueue."""
        return await TASKS[task].enqueue(value)

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Any]:
        """One round trip for all."""
        call = TASKS[task]
        return list(await app.enqueue_many(call.prepare(value) for value in values))

    async def result(self, handle: Any) -> Any:
        """The core waits."""
        return (await handle.result(timeout=300)).value


if __name__ == "__main__":
    serve(OnArdiq, lambda: uvloop.run(app.run()), uvloop.run)
