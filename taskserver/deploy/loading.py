"""Loading a configuration file for pods: references to secrets stay unresolved."""

from __future__ import annotations

from typing import Any

from taskserver.config.document import Path
from taskserver.config.file import Config, load
from taskserver.config.resources import BrokerResource, TaskServer

_LOGIN = ("url", "username", "password")


def is_unresolved(path: Path) -> bool:
    """Whether pods resolve the references in this value: those in the URL and login of a broker, and in ``env``.

    All others decide what is rendered, and are resolved here.
    """
    keys = [part for part in path if isinstance(part, str)]
    return (keys[0] == "broker" and keys[-1] in _LOGIN) or keys[:2] == ["task_server", "env"]


def load_unresolved(file: str) -> Config:
    """Load a file without resolving those references.

    Raises:
        ConfigFileInvalid: with every error in it.
    """
    return load(file, keep=is_unresolved)


def stated_by(resource: BrokerResource | TaskServer) -> dict[str, Any]:
    """The keys that the file states for a resource, as data for another file."""
    root = "broker" if isinstance(resource, BrokerResource) else "task_server"
    data = resource.model_dump(mode="python", by_alias=True, exclude_unset=True)
    made = {key: _written(value, (root, key)) for key, value in data.items() if value is not None}
    if isinstance(resource, BrokerResource) and resource.durability is not None:
        made["durability"] = str(resource.durability)
    return made


def _written(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _written(each, (*path, key)) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_written(each, path) for each in value]
    if isinstance(value, str):
        return str(value) if is_unresolved(path) else value.replace("$", "$$")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
