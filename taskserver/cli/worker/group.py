"""The commands of ``taskserver worker``; ``start`` is the default."""

from __future__ import annotations

import click

from taskserver.cli.groups import CommandEntry, DefaultGroup

COMMANDS = {
    "start": CommandEntry(
        "taskserver.cli.worker.start:start", "Start a worker; the same as taskserver worker on its own."
    ),
    "status": CommandEntry("taskserver.cli.worker.status:status", "List the live workers of all machines."),
    "stop": CommandEntry("taskserver.cli.worker.commands:stop", "Stop workers after their running jobs have finished."),
    "restart": CommandEntry("taskserver.cli.worker.commands:restart", "Replace workers one after the other."),
    "scale": CommandEntry(
        "taskserver.cli.worker.commands:scale", "Change how many replicas a running supervisor keeps."
    ),
}


@click.group(cls=DefaultGroup, default="start", entries=COMMANDS)
def worker() -> None:
    """Run the tools of your modules.

    SIGTERM or Ctrl-C stops the worker: it takes no more jobs, gives running jobs the grace period, and hands the rest
    to other workers. A second signal skips the grace period.
    """
