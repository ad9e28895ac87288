"""Every value of a configuration file, without secrets, with its source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from taskserver.admin import without_secrets
from taskserver.config.checks import is_secret
from taskserver.config.document import Path
from taskserver.config.file import Config
from taskserver.config.resources import BrokerResource, TaskServer
from taskserver.config.settings import settings
from taskserver.config.texts import variable
from taskserver.config.worker_settings import WorkerSettings
from taskserver.domain.durability import Durability
from taskserver.domain.secrets import MASK, looks_secret

FROM_SETTINGS: dict[type[BaseModel], dict[str, str]] = {
    BrokerResource: {"durability": "durability"},
    TaskServer: {name: name for name in WorkerSettings.model_fields if name != "metrics_targets"} | {"queues": "queue"},
}
"""For the keys of a part the settings that apply if the file leaves them out. TASKSERVER_METRICS_TARGETS is not among
them: several task servers cannot share its file."""


class ConfigValue(NamedTuple):
    """One value.

    Attributes:
        key: Its key, such as ``task_server.replicas``.
        value: The value, as it may be shown.
        source: ``line 7``, with the references that are in it; an environment variable; or ``default``.
    """

    key: str
    value: Any
    source: str


def values(config: Config) -> Iterator[ConfigValue]:
    """Every value in effect, in the order of the models."""
    for position, broker in enumerate(config.brokers):
        yield from _values(config, broker, ("broker", position))
    for position, server in enumerate(config.task_servers):
        yield from _values(config, server, ("task_server", position))


def _values(config: Config, part: BaseModel, path: Path) -> Iterator[ConfigValue]:
    for name, field in type(part).model_fields.items():
        key = (*path, field.alias or name)
        if isinstance(part, TaskServer) and name in WorkerSettings.model_fields and config.line_of(key) is None:
            if name not in part.overrides:  # else it is there under its alias
                yield from _left_open(config, part, key)
        elif config.name_of(key) != config.name_of(path) or name in ("name", "module"):
            yield from _value(config, part, getattr(part, name), key)
        # else the file has a bare name there, and the rest of the model is not worth a line


def _value(config: Config, part: BaseModel, value: Any, key: Path) -> Iterator[ConfigValue]:
    if isinstance(value, BaseModel):
        if config.line_of(key) is not None:  # else it is for Kubernetes, and empty
            yield from _values(config, value, key)
    elif isinstance(value, dict):
        yield from (_shown(config, (*key, name), each) for name, each in value.items())
    elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
        for position, each in enumerate(value):
            yield from _values(config, each, (*key, position))
    elif value is not None:
        yield _shown(config, key, value)
    else:
        yield from _left_open(config, part, key)


def _left_open(config: Config, part: BaseModel, key: Path) -> Iterator[ConfigValue]:
    """What the file leaves out."""
    name = str(key[-1])
    if setting := FROM_SETTINGS.get(type(part), {}).get(name):
        yield _from_settings(config, key, setting)
    elif name == "tools" and (tools := os.environ.get("TASKSERVER_TOOLS")):
        yield ConfigValue(config.name_of(key), tools.split(","), "environment variable TASKSERVER_TOOLS")


def _shown(config: Config, key: Path, value: Any) -> ConfigValue:
    line = config.line_of(key)
    references = config.references_in(key)
    source = "default" if line is None else f"line {line}"
    if line is not None and references:
        source += ": " + ", ".join(dict.fromkeys(map(str, references)))
    hidden = is_secret(key) or any(each.kind == "file" or looks_secret(each.target) for each in references)
    if isinstance(value, str) and "://" in value:
        value = without_secrets(value)
    elif hidden:
        value = MASK
    return ConfigValue(config.name_of(key), str(value) if isinstance(value, Durability) else value, source)


def _from_settings(config: Config, key: Path, setting: str) -> ConfigValue:
    value = getattr(settings(), setting)
    source = f"environment variable {variable(setting)}" if os.environ.get(variable(setting)) else "default"
    return ConfigValue(config.name_of(key), str(value) if isinstance(value, Durability) else value, source)
