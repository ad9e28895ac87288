"""Telling Prometheus where the replicas' metrics are, as replicas come and go."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from taskserver.errors import ConfigError
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.supervisor.supervisor import Supervisor
from taskserver.observability.discovery import remove_targets, write_targets
from taskserver.worker.identity import HOST

LOOK_SECONDS = 0.5
"""Prometheus reads the file when it changes, and scrapes seldom: nobody waits for this."""
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - not listened on here, but told from

log = logging.getLogger("taskserver.supervisor")


async def tell_targets(supervisor: Supervisor, assignment: Assignment, path: Path) -> None:
    """Keep the file as the replicas are; it is removed in the end.

    Args:
        supervisor: Whose replicas.
        assignment: What they were told.
        path: The file.
    """
    host = HOST if assignment.metrics_host in _EVERYWHERE else assignment.metrics_host
    labels = {"task_server": assignment.task_server}
    written: dict[str, tuple[str, int]] | None = None
    try:
        while True:
            targets = {each.name: (host, each.metrics_port) for each in supervisor.replicas if each.metrics_port}
            if targets != written:
                written = _write(path, targets, labels)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        remove_targets(path)


def _write(path: Path, targets: dict[str, tuple[str, int]], labels: dict[str, str]) -> dict[str, tuple[str, int]]:
    try:
        write_targets(path, targets, labels)
    except ConfigError as error:
        log.error("%s", error)
    return targets
