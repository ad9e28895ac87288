"""From the flags of ``taskserver worker`` to what the supervisor or the worker runs with.

Flags win over the configuration file, the file over the environment, and the environment over the defaults.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import click
import msgspec
from click.core import ParameterSource

from taskserver.cli.declared import Declared
from taskserver.cli.options import named_modules
from taskserver.config.settings import settings
from taskserver.config.texts import variable
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.planning import plan_server
from taskserver.fleet.supervisor.process import SupervisorConfig
from taskserver.worker.config import WorkerConfig
from taskserver.worker.slots import QueueShare

_BROKER_VARIABLES = (variable("broker_url"), HOME_VARIABLE)


class Flags(NamedTuple):
    """The flags of one command.

    Attributes:
        modules: Modules with tools, also those of ``TASKSERVER_TOOLS``.
        queues: Queues as ``name`` or ``name=weight``.
        broker_url: The broker.
        replicas: The number of processes.
        config_file: The configuration file.
        task_server: Which of its task servers.
        settings: The worker settings that were given, by name.
    """

    modules: tuple[str, ...]
    queues: tuple[str, ...]
    broker_url: str | None
    replicas: int | None
    config_file: str | None
    task_server: str | None
    settings: dict[str, Any]


def supervisor_config(declared: Declared | None, flags: Flags) -> SupervisorConfig:
    """The replicas that the command starts.

    Args:
        declared: The task server of the configuration file, if there is one.
        flags: The flags; they win over the file.

    Raises:
        ConfigFileInvalid: if the file's task server cannot run.
        click.UsageError: if no tools are named.
    """
    config = _from_settings(flags) if declared is None else _from_file(declared, flags)
    assignment = config.assignment.with_settings(flags.settings)
    if flags.queues:
        pairs = [text.partition("=") for text in flags.queues]
        shares = tuple(QueueShare(name, int(weight)) for name, _, weight in pairs if weight)
        worker = assignment.worker._replace(queues=tuple(name for name, _, _ in pairs), shares=shares)
        assignment = msgspec.structs.replace(assignment, worker=worker)
    if flags.broker_url:
        rest = {key: value for key, value in assignment.environment.items() if key not in _BROKER_VARIABLES}
        assignment = msgspec.structs.replace(assignment, broker_url=flags.broker_url, environment=rest)
    targets = flags.settings.get("metrics_targets", config.metrics_targets or settings().metrics_targets)
    return config._replace(assignment=assignment, metrics_targets=targets)


def _from_settings(flags: Flags) -> SupervisorConfig:
    assignment = Assignment(modules=named_modules(flags.modules), worker=WorkerConfig(queues=(settings().queue,)))
    replicas = 1 if flags.replicas is None else flags.replicas
    return SupervisorConfig(assignment.with_settings(dict(settings())), replicas)


def _from_file(declared: Declared, flags: Flags) -> SupervisorConfig:
    server = declared.server
    if flags.replicas is not None:
        server = server.model_copy(update={"replicas": flags.replicas})
    source = click.get_current_context().get_parameter_source("modules")
    if source is ParameterSource.COMMANDLINE:  # TASKSERVER_TOOLS is only for a task server that names no tools
        server = server.model_copy(update={"tools": None})
    made = plan_server(declared.config, server, flags.modules, alone=True)
    return SupervisorConfig(made.assignment, made.replicas, metrics_targets=made.metrics_targets)
