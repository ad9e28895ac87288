"""The flags of ``taskserver worker``: options made from the worker settings, and what a worker is told in the end.

Flags win over the configuration file, the file over the environment, and the environment over the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import click
import msgspec
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from taskserver.cli.declared import Declared
from taskserver.cli.options import named_modules
from taskserver.cli.param_types import Duration, Size
from taskserver.config.settings import settings, variable
from taskserver.config.values import BYTES, SECONDS, WHOLE
from taskserver.config.worker_settings import Option, WorkerSettings
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.planning import plan_server
from taskserver.fleet.supervisor.process import SupervisorConfig
from taskserver.worker.slots import QueueShare

F = TypeVar("F", bound=Callable[..., Any])

_BROKER_VARIABLES = (variable("broker_url"), HOME_VARIABLE)


class Flags(NamedTuple):
    """What the command line says of a worker.

    Attributes:
        modules: Modules with tools, also those of ``TASKSERVER_TOOLS``.
        queues: Queues as ``name`` or ``name=weight``.
        broker_url: The broker.
        replicas: The number of processes.
        settings: The worker settings that were given, by name.
    """

    modules: tuple[str, ...]
    queues: tuple[str, ...]
    broker_url: str | None
    replicas: int | None
    settings: dict[str, Any]


def setting_options(command: F) -> F:
    """One option for each worker setting; those that are not given are None."""
    for name, field in reversed(WorkerSettings.model_fields.items()):
        option = next((each for each in field.metadata if isinstance(each, Option)), Option())
        if option.offered:
            command = _option(name, field, option)(command)
    return command


def _option(name: str, field: FieldInfo, option: Option) -> Callable[[F], F]:
    flags = [option.flags or f"--{name.replace('_', '-')}", *filter(None, [option.short])]
    default = "" if field.default in (None, "") else f"default: {_text(field.default)}; "
    return click.option(
        *flags,
        name,
        default=None,
        type=None if isinstance(field.default, bool) else _kind(field),
        metavar=option.metavar or ("N" if WHOLE in field.metadata else "SIZE" if BYTES in field.metadata else None),
        help=f"{field.description} [{default}env: {variable(name)}]",
    )


def _text(default: object) -> str:
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


def _kind(field: FieldInfo) -> Any:
    least = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), 0)
    most = next((bound.le for bound in field.metadata if hasattr(bound, "le")), None)
    if SECONDS in field.metadata:
        return Duration(least, math.inf if most is None else most)
    if BYTES in field.metadata:
        return Size(least)
    if WHOLE in field.metadata:
        return click.IntRange(least, most)
    return click.Choice(get_args(field.annotation)) if get_origin(field.annotation) is Literal else click.STRING


def supervisor_config(declared: Declared | None, flags: Flags) -> SupervisorConfig:
    """The replicas that the command starts.

    Args:
        declared: The task server of the configuration file, if there is one.
        flags: What the command line says.

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
    assignment = Assignment(modules=named_modules(flags.modules)).with_settings(dict(settings()))
    worker = assignment.worker._replace(queues=(settings().queue,))
    return SupervisorConfig(
        msgspec.structs.replace(assignment, worker=worker), 1 if flags.replicas is None else flags.replicas
    )


def _from_file(declared: Declared, flags: Flags) -> SupervisorConfig:
    server = declared.server
    if flags.replicas is not None:
        server = server.model_copy(update={"replicas": flags.replicas})
    source = click.get_current_context().get_parameter_source("modules")
    if source is ParameterSource.COMMANDLINE:  # TASKSERVER_TOOLS is only for a task server that names no tools
        server = server.model_copy(update={"tools": None})
    made = plan_server(declared.config, server, flags.modules, alone=True)
    return SupervisorConfig(made.assignment, made.replicas, metrics_targets=made.metrics_targets)
