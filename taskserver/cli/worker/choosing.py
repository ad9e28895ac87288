"""Which workers a command is about: options, and the workers that they choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import click

from taskserver.domain.names import did_you_mean
from taskserver.errors import WorkerNotFound
from taskserver.store.queries.workers import WorkerInfo

F = TypeVar("F", bound=Callable[..., Any])


class Choice(NamedTuple):
    """Workers by name (of worker, supervisor or task server), machine and queue; what is not said chooses all."""

    names: tuple[str, ...] = ()
    host: str | None = None
    queue: str | None = None

    def of(self, workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
        """Those that are meant."""
        return [each for each in workers if self._means(each)]

    def checked(self, workers: list[WorkerInfo]) -> list[WorkerInfo]:
        """The same, when somebody must be there.

        Raises:
            WorkerNotFound: if a name is nobody's, with the nearest one, or nobody is left.
        """
        known = {name for each in workers for name in (each.name, each.supervisor, each.task_server) if name}
        for name in self.names:
            if name not in known:
                raise WorkerNotFound(f"no worker, supervisor or task server {name!r}{did_you_mean(name, known)}")
        found = self.of(workers)
        if not found:
            raise WorkerNotFound(f"no worker is running{self._where()}")
        return found

    def _means(self, worker: WorkerInfo) -> bool:
        return (
            (not self.names or any(map(worker.matches, self.names)))
            and self.host in (None, worker.host)
            and (self.queue is None or self.queue in worker.queues)
        )

    def _where(self) -> str:
        host = f" on host {self.host}" if self.host else ""
        return f"{host} for queue {self.queue}" if self.queue else host


def choice_options(command: F) -> F:
    """``--host`` and ``--queue``."""
    command = click.option("--queue", "-q", metavar="NAME", help="Only those that work on this queue.")(command)
    return click.option("--host", metavar="NAME", help="Only those on this machine.")(command)
