"""The commands of ``taskserver worker``; ``start`` is the default."""

from __future__ import annotations

import click

from taskserver.cli.groups import DefaultGroup
from taskserver.cli.worker.commands import restart, scale, stop
from taskserver.cli.worker.start import start
from taskserver.cli.worker.status import status


@click.group(cls=DefaultGroup, default="start")
def worker() -> None:
    """Run the tools of your modules.

    SIGTERM or Ctrl-C stops the worker: it takes no more jobs, gives running jobs the grace period, and hands the rest
    to other workers. A second signal skips the grace period.
    """


for command in (start, status, stop, restart, scale):
    worker.add_command(command)
