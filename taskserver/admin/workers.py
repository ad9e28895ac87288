"""Workers on all machines: listed, stopped, restarted and scaled, over the broker."""

from __future__ import annotations

from typing import NamedTuple

from taskserver.admin.commands import Change, Waiting, carry_out, departure, scaling, send
from taskserver.admin.connection import Connection
from taskserver.admin.selection import WorkerSelection
from taskserver.domain.fleet import Action, check_replicas
from taskserver.errors import ConfigError
from taskserver.store.queries.workers import WorkerInfo, list_workers

TIMEOUT = 120.0
"""Default for the seconds to wait until workers have changed."""


class Scaled(NamedTuple):
    """A supervisor that was scaled: its name, how many replicas it had before, and how many were requested."""

    supervisor: str
    before: int
    requested: int


class WorkerInspector(Connection):
    """Methods about workers.

    Workers are selected by ``names`` (of workers, supervisors or task servers), ``host`` and ``queue``; a filter that
    is left out matches all. Commands may get lost, so they are repeated until the workers have changed. With
    ``wait=False`` they are sent once.
    """

    async def workers(self, *names: str, host: str | None = None, queue: str | None = None) -> list[WorkerInfo]:
        """The live workers, as of their last heartbeats, by task server, host and number.

        Raises:
            ConfigError: if there is no such queue.
            WorkerNotFound: if names are given and one is unknown, or no worker matches.
        """
        if queue is not None:
            await self._partitions(queue)
        selection = WorkerSelection(names, host, queue)
        found = await list_workers(await self._broker())
        return selection.required(found) if names else selection.of(found)

    async def stop_workers(
        self,
        *names: str,
        host: str | None = None,
        queue: str | None = None,
        everyone: bool = False,
        now: bool = False,
        wait: bool = True,
        timeout: float = TIMEOUT,
        waiting: Waiting | None = None,
    ) -> list[str]:
        """Stop workers after their running jobs have finished: they take no more, and these get the grace period.

        Args:
            *names: Only workers of these names.
            host: Only workers on this machine.
            queue: Only workers that consume this queue.
            everyone: Stop all workers of the broker.
            now: Skip the grace period: running jobs go to other workers.
            wait: Whether to wait until they are gone.
            timeout: Seconds to wait at most.
            waiting: Called with the number of workers that are still there.

        Returns:
            Names of the workers.

        Raises:
            ConfigError: if no filter is given, and not ``everyone``.
            WorkerNotFound: if a name is unknown, or no worker matches.
            WorkersUnchanged: if they are not gone in time.
        """
        chosen = await self._chosen(WorkerSelection(names, host, queue), everyone)
        change = departure(Action.HURRY if now else Action.STOP, chosen, names, "to stop")
        await self._change(change, wait, timeout, waiting)
        return [each.name for each in chosen]

    async def restart_workers(
        self,
        *names: str,
        host: str | None = None,
        queue: str | None = None,
        everyone: bool = False,
        wait: bool = True,
        timeout: float = TIMEOUT,
        waiting: Waiting | None = None,
    ) -> list[str]:
        """Replace workers one after the other; each new one is ready before the old one drains.

        Args and Returns:
            As ``stop_workers``.

        Raises:
            ConfigError: if one of them has no supervisor, or no filter is given, and not ``everyone``.
            WorkerNotFound: if a name is unknown, or no worker matches.
            WorkersUnchanged: if they are not replaced in time.
        """
        chosen = await self._chosen(WorkerSelection(names, host, queue), everyone)
        _require_supervisors(chosen, "replace")
        await self._change(departure(Action.RESTART, chosen, names, "to be replaced"), wait, timeout, waiting)
        return [each.name for each in chosen]

    async def scale(
        self,
        replicas: int,
        name: str | None = None,
        *,
        host: str | None = None,
        queue: str | None = None,
        wait: bool = True,
        timeout: float = TIMEOUT,
        waiting: Waiting | None = None,
    ) -> Scaled:
        """Change how many replicas a running supervisor keeps.

        Args:
            replicas: The new number.
            name: The supervisor or its task server; may be left out if there is only one.
            host: Only a supervisor on this machine.
            queue: Only a supervisor whose workers consume this queue.
            wait: Whether to wait until there are as many.
            timeout: Seconds to wait at most.
            waiting: Called with the number of workers that still have to start or stop.

        Raises:
            ConfigError: if the number is not valid, or more than one supervisor matches.
            WorkerNotFound: if the name is unknown, or no worker matches.
            WorkersUnchanged: if there are not as many in time.
        """
        check_replicas(replicas)
        selection = WorkerSelection((name,) if name else (), host, queue)
        workers = await list_workers(await self._broker())
        chosen = selection.required(workers)
        _require_supervisors(chosen, "add to")
        supervisor, *others = sorted({each.command_target for each in chosen})
        if others:
            raise ConfigError(
                f"there are {len(others) + 1} supervisors: name one of {', '.join([supervisor, *others])}"
            )
        before = sum(each.supervisor == supervisor for each in workers)
        await self._change(scaling(replicas, supervisor, chosen), wait, timeout, waiting)
        return Scaled(supervisor, before, replicas)

    async def _chosen(self, selection: WorkerSelection, everyone: bool) -> list[WorkerInfo]:
        if selection == WorkerSelection() and not everyone:
            raise ConfigError("select workers by name, host or queue, or set everyone")
        return selection.required(await list_workers(await self._broker()))

    async def _change(self, change: Change, wait: bool, timeout: float, waiting: Waiting | None) -> None:
        broker = await self._broker()
        if wait:
            await carry_out(broker, change, timeout, waiting)
        else:
            await send(broker, change)


def _require_supervisors(chosen: list[WorkerInfo], what: str) -> None:
    alone = [each.name for each in chosen if not each.supervisor]
    if alone:
        raise ConfigError(
            f"worker {alone[0]} has no supervisor that could {what} it: start it with --replicas 2 or more, or with "
            "--daemon; or stop it, and let your service manager start it again"
        )
