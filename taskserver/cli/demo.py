"""``taskserver demo``: real workers do an agent's work on real files, and one of them is killed."""

from __future__ import annotations

from pathlib import Path

import click

from taskserver.cli.options import broker_option
from taskserver.config.settings import settings
from taskserver.demo.run import run


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@broker_option
@click.pass_context
def demo(context: click.Context, folder: Path | None, broker_url: str | None) -> None:
    """Watch two workers do real work on the files of FOLDER while one of them is killed.

    Starts a broker and two workers, submits jobs, checks every result, and leaves nothing behind. Without FOLDER,
    taskserver's own sources are used. Exit code 1 if a check fails.
    """
    known = settings().broker_url
    context.exit(run(folder, broker_url or (known.get_secret_value() if known else None)))
