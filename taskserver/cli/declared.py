"""The task server that ``--config-file`` and ``--task-server`` choose."""

from __future__ import annotations

from typing import NamedTuple

import click

from taskserver.config.file import Config, load
from taskserver.config.resources import TaskServer


class Declared(NamedTuple):
    """A task server and the configuration file that declares it."""

    config: Config
    server: TaskServer


def find_declared(config_file: str | None, task_server: str | None) -> Declared | None:
    """The chosen task server; None if there is no file.

    Args:
        config_file: The configuration file.
        task_server: Which of its task servers; it may be left out if there is only one.

    Raises:
        click.UsageError: if a task server is named without a file.
        ConfigFileInvalid: with everything that is wrong in the file.
        ConfigError: if the file has no such task server, or several and none is named.
    """
    if config_file is not None:
        config = load(config_file)
        return Declared(config, config.task_server(task_server))
    if task_server is not None:
        raise click.UsageError("--task-server requires --config-file")
    return None
