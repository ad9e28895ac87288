"""``taskserver worker --config``: a worker as a configuration file declares it; what flags say wins."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from click.core import ParameterSource

from taskserver.config.file import load
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.planning import plan
from taskserver.worker.slots import QueueShare

_BROKER_VARIABLES = ("TASKSERVER_BROKER_URL", HOME_VARIABLE)


def declared(file: str, name: str | None, flags: dict[str, Any], replicas: int | None) -> tuple[Assignment, int, str]:
    """A task server of the file, as an assignment, a number of replicas, and the file for Prometheus (or empty).

    Args:
        file: The configuration file.
        name: Which of its task servers; None for the only one.
        flags: ``modules``, ``queues``, and fields of an ``Assignment`` and a ``WorkerConfig``; those that were not
            given are None or empty.
        replicas: As a flag says; None for the file's.

    Raises:
        ConfigFileInvalid: with all that is wrong in the file.
        ConfigError: if it has no such task server, or several and none is named.
    """
    config = load(file)
    server = config.task_server(name)
    if replicas is not None:
        server = server.model_copy(update={"replicas": replicas})
    source = click.get_current_context().get_parameter_source("modules")
    if source is ParameterSource.COMMANDLINE:  # what TASKSERVER_TOOLS names is for a task server that names none
        server = server.model_copy(update={"tools": None})
    made = plan(config, server, flags["modules"], alone=True)
    worker = made.assignment.worker
    if flags["queues"]:
        worker = worker._replace(queues=queue_names(flags["queues"]), shares=queue_shares(flags["queues"]))
    flags["max_rss_bytes"] = flags.pop("max_rss")
    said = {key: flags[key] for key in worker._fields if key not in ("queues", "shares") and flags.get(key) is not None}
    changes: dict[str, Any] = {"worker": worker._replace(**said)}
    for key in ("loglevel", "log_format", "metrics_host", "metrics_port"):
        if flags[key] is not None:
            changes[key] = flags[key]
    if flags["broker_url"]:
        rest = {key: v for key, v in made.assignment.environment.items() if key not in _BROKER_VARIABLES}
        changes |= {"broker_url": flags["broker_url"], "environment": rest}
    return msgspec.structs.replace(made.assignment, **changes), made.replicas, made.metrics_targets


def queue_names(given: tuple[str, ...]) -> tuple[str, ...]:
    """The names among ``name`` and ``name=weight``."""
    return tuple(text.partition("=")[0] for text in given)


def queue_shares(given: tuple[str, ...]) -> tuple[QueueShare, ...]:
    """The weights among ``name`` and ``name=weight``, which have been checked."""
    pairs = (text.partition("=") for text in given)
    return tuple(QueueShare(name, int(weight)) for name, _, weight in pairs if weight)
