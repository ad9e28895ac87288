"""Celery: one prefork child for work that does not wait, a gevent pool for work that does, as its docs say.

Its docs on optimizing: for many short tasks, a large prefetch multiplier; no heartbeats between workers where nobody
listens (``--without-gossip --without-mingle --without-heartbeat``).
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, TTL, URL, WORK, Producer, serve

app = Celery("benchmarks.peers.adapters.celery", broker=URL, backend=URL)
app.conf.update(
    task_default_queue="bench",
    result_expires=TTL,
    worker_prefetch_multiplier=max(1, 128 // CONCURRENCY) if WORK == "pause" else 128,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
TASKS: dict[str, Any] = {name: app.task(body, name=name) for name, body in tasks.BLOCKING.items()}


class OnCelery(Producer):
    """Submits over the app's pool."""

    blocking = True

    async def close(self) -> None:
        """Disconnect."""
        app.backend.result_consumer.stop()
        app.pool.force_close_all()

    async def submit(self, task: str, value: Any) -> Any:
        """One publish."""
        return TASKS[task].delay(value)

    async def result(self, handle: Any) -> Any:
        """Its notification, over one subscription."""
        return handle.get(timeout=300)


def work() -> None:
    """What ``celery worker`` runs."""
    pool = ["-P", "gevent", "-c", str(CONCURRENCY)] if WORK == "pause" else ["-P", "prefork", "-c", "1"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    app.worker_main(["worker", *pool, *quiet, "-n", f"bench{os.getpid()}@%h"])


if __name__ == "__main__":
    if WORK == "pause":  # before anything else imports sockets
        from gevent import monkey

        monkey.patch_all()
    serve(OnCelery, work)
