"""Telling Prometheus where the replicas' metrics are, as replicas come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from taskserver.aio import cancel_and_wait
from taskserver.errors import ConfigError
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.supervisor.supervisor import Supervisor
from taskserver.observability.discovery import remove_targets, write_targets
from taskserver.worker.identity import HOST

LOOK_SECONDS = 0.5
"""Prometheus reads the file when it changes, and scrapes seldom: nobody waits for this."""
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - this only announces the address

log = logging.getLogger("taskserver.supervisor")


@asynccontextmanager
async def updated_targets(supervisor: Supervisor, assignment: Assignment, file: str) -> AsyncIterator[None]:
    """Keep a targets file up to date inside the block, and remove it afterwards.

    Args:
        supervisor: Whose replicas.
        assignment: Their assignment.
        file: The file; empty to do nothing.

    Raises:
        ConfigError: if the file cannot be written.
    """
    if not file:
        yield
        return
    path = Path(file)
    write_targets(path, {})
    updating = asyncio.create_task(_update(supervisor, assignment, path))
    try:
        yield
    finally:
        await cancel_and_wait(updating)
        remove_targets(path)


async def _update(supervisor: Supervisor, assignment: Assignment, path: Path) -> None:
    host = HOST if assignment.metrics_host in _EVERYWHERE else assignment.metrics_host
    labels = {"task_server": assignment.task_server}
    written: dict[str, tuple[str, int]] | None = None
    while True:
        targets = {each.name: (host, each.metrics_port) for each in supervisor.replicas if each.metrics_port}
        if targets != written:
            try:
                write_targets(path, targets, labels)
            except ConfigError as error:
                log.error("%s", error)
            written = targets
        await asyncio.sleep(LOOK_SECONDS)
