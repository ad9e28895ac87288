"""Celery: one prefork child for work that does not wait, a gevent pool for work that does, as its docs say.

Its docs on optimizing: for many short tasks, a large prefetch multiplier; no heartbeats between workers where nobody
listens (``--without-gossip --without-mingle --without-heartbeat``).
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from kombu import pools

from benchmarks.peers.adapters import tasks
from benchmarks.peers.adapters.protocol import CONCURRENCY, PROCESSES, TTL, URL, WORK, Producer, serve


def _app() -> Celery:
    app = Celery("bench", broker=URL, backend=URL)
    app.conf.update(
        task_default_queue="bench",
        result_expires=TTL,
        worker_prefetch_multiplier=max(1, 128 // CONCURRENCY) if WORK == "pause" else 128,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    for name, body in tasks.BLOCKING.items():
        app.task(body, name=name)
    return app


class OnCelery(Producer):
    """Submits over the app's pool."""

    blocking = True

    async def open(self) -> None:
        """A new app: an old one knows nothing of an emptied broker."""
        self.app = _app()

    async def close(self) -> None:
        """Disconnect."""
        self.app.backend.result_consumer.stop()
        self.app.backend.client.connection_pool.disconnect()
        self.app.close()
        pools.reset()

    async def submit(self, task: str, value: Any) -> Any:
        """One publish."""
        return self.app.tasks[task].delay(value)

    async def result(self, handle: Any) -> Any:
        """Its notification, over one subscription."""
        return handle.get(timeout=300)


def work() -> None:
    """What ``celery worker`` runs."""
    children = CONCURRENCY if PROCESSES or WORK == "pause" else 1
    pool = ["-P", "gevent" if WORK == "pause" else "prefork", "-c", str(children)]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    _app().worker_main(["worker", *pool, *quiet, "-n", f"bench{os.getpid()}@%h"])


if __name__ == "__main__":
    if WORK == "pause":  # before anything else imports sockets
        from gevent import monkey

        monkey.patch_all()
    serve(OnCelery, work)
