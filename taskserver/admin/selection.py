"""Choosing workers by name, machine and queue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from taskserver.domain.names import did_you_mean
from taskserver.errors import WorkerNotFound
from taskserver.store.queries.workers import WorkerInfo


class WorkerSelection(NamedTuple):
    """Workers by name, machine and queue; what is left open matches all.

    Attributes:
        names: Names of workers, supervisors or task servers.
        host: Name of their machine.
        queue: A queue that they consume.
    """

    names: tuple[str, ...] = ()
    host: str | None = None
    queue: str | None = None

    def of(self, workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
        """Those that match."""
        return [each for each in workers if self._matches(each)]

    def required(self, workers: list[WorkerInfo]) -> list[WorkerInfo]:
        """Those that match, at least one.

        Raises:
            WorkerNotFound: if a name is unknown, with the nearest one, or no worker matches.
        """
        known = {name for each in workers for name in (each.name, each.supervisor, each.task_server) if name}
        for name in self.names:
            if name not in known:
                raise WorkerNotFound(f"no worker, supervisor or task server {name!r}{did_you_mean(name, known)}")
        found = self.of(workers)
        if not found:
            host = f" on host {self.host}" if self.host else ""
            queue = f" for queue {self.queue}" if self.queue else ""
            raise WorkerNotFound(f"no worker is running{host}{queue}")
        return found

    def _matches(self, worker: WorkerInfo) -> bool:
        return (
            (not self.names or any(map(worker.matches, self.names)))
            and self.host in (None, worker.host)
            and (self.queue is None or self.queue in worker.queues)
        )
