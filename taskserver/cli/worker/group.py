"""The commands of ``taskserver worker``, and which of them is meant when none is named."""

from __future__ import annotations

import click

from taskserver.cli.groups import DefaultGroup
from taskserver.cli.worker.commands import restart, scale, stop
from taskserver.cli.worker.start import start
from taskserver.cli.worker.status import status


@click.group(cls=DefaultGroup, default="start")
def worker() -> None:
    """Run the tools of your modules for whoever submits jobs.

    SIGTERM or Ctrl-C stops it: it takes no more jobs, lets those that run go on for the grace period, and hands the
    rest to other workers. A second one does not wait.
    """


for command in (start, status, stop, restart, scale):
    worker.add_command(command)
