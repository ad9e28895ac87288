"""Every value of a configuration, without secrets, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from taskserver.admin import without_secrets
from taskserver.config.checks import is_secret
from taskserver.config.document import Path
from taskserver.config.file import Config
from taskserver.config.resources import TaskServer
from taskserver.config.settings import settings, variable
from taskserver.config.worker_settings import WorkerSettings
from taskserver.domain.durability import Durability
from taskserver.domain.secrets import MASK, looks_secret

FROM_SETTINGS = {name: name for name in WorkerSettings.model_fields if name != "metrics_targets"} | {
    "queues": "queue",
    "durability": "durability",
}
"""What a file leaves out is the setting of this name, from the environment or by default. The file of
TASKSERVER_METRICS_TARGETS is not among them: several task servers cannot share it."""


class Shown(NamedTuple):
    """One value.

    Attributes:
        key: Its key, such as ``task_server.replicas``.
        value: The value, as it may be shown.
        source: ``line 7``, with the references that are in it; an environment variable; or ``default``.
    """

    key: str
    value: Any
    source: str


def values(config: Config) -> Iterator[Shown]:
    """Every value that counts, in the order of the models."""
    for position, broker in enumerate(config.brokers):
        yield from _values(config, broker, ("broker", position))
    for position, server in enumerate(config.task_servers):
        yield from _values(config, server, ("task_server", position))


def _values(config: Config, part: BaseModel, path: Path) -> Iterator[Shown]:
    for name, field in type(part).model_fields.items():
        place = (*path, field.alias or name)
        if isinstance(part, TaskServer) and name in WorkerSettings.model_fields and config.line_of(place) is None:
            if name not in part.overrides:  # else it is there under its alias
                yield from _left_open(config, place, name)
        elif config.name_of(place) != config.name_of(path) or name in ("name", "module"):
            yield from _value(config, getattr(part, name), place)
        # else a bare name stands there, and the rest of the model is not worth a line


def _value(config: Config, value: Any, place: Path) -> Iterator[Shown]:
    if isinstance(value, BaseModel):
        if config.line_of(place) is not None:  # else it is for Kubernetes, and says nothing
            yield from _values(config, value, place)
    elif isinstance(value, dict):
        yield from (_shown(config, (*place, key), each) for key, each in value.items())
    elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
        for position, each in enumerate(value):
            yield from _values(config, each, (*place, position))
    elif value is not None:
        yield _shown(config, place, value)
    else:
        yield from _left_open(config, place, str(place[-1]))


def _left_open(config: Config, place: Path, name: str) -> Iterator[Shown]:
    """What the file does not say."""
    if name in FROM_SETTINGS:
        yield _from_settings(config, place, FROM_SETTINGS[name])
    elif name == "tools" and (tools := os.environ.get("TASKSERVER_TOOLS")):
        yield Shown(config.name_of(place), tools.split(","), "environment variable TASKSERVER_TOOLS")


def _shown(config: Config, place: Path, value: Any) -> Shown:
    line = config.line_of(place)
    references = config.references_in(place)
    source = "default" if line is None else f"line {line}"
    if line is not None and references:
        source += ": " + ", ".join(dict.fromkeys(map(str, references)))
    hidden = is_secret(place) or any(each.kind == "file" or looks_secret(each.target) for each in references)
    if isinstance(value, str) and "://" in value:
        value = without_secrets(value)
    elif hidden:
        value = MASK
    return Shown(config.name_of(place), str(value) if isinstance(value, Durability) else value, source)


def _from_settings(config: Config, place: Path, setting: str) -> Shown:
    value = getattr(settings(), setting)
    source = f"environment variable {variable(setting)}" if os.environ.get(variable(setting)) else "default"
    return Shown(config.name_of(place), str(value) if isinstance(value, Durability) else value, source)
