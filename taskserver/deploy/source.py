"""Loading a file whose secrets must not be known here: their references stay as they stand in the file."""

from __future__ import annotations

from typing import Any

from taskserver.config.document import Path
from taskserver.config.file import Config, load
from taskserver.config.resources import BrokerResource, TaskServer

_LOGIN = ("url", "username", "password")


def is_kept(path: Path) -> bool:
    """Whether references there are for the pods to follow: in the address and login of a broker, and in ``env``.

    All others decide what is rendered, and are followed at once.
    """
    keys = [part for part in path if isinstance(part, str)]
    return (keys[0] == "broker" and keys[-1] in _LOGIN) or keys[:2] == ["task_server", "env"]


def load_kept(file: str) -> Config:
    """Load a file without following those references.

    Raises:
        ConfigFileInvalid: with all that is wrong in it.
    """
    return load(file, keep=is_kept)


def said_by(part: BrokerResource | TaskServer) -> dict[str, Any]:
    """What the file says of it, as data that can be written to another file; what it leaves open is left open."""
    root = "broker" if isinstance(part, BrokerResource) else "task_server"
    data = part.model_dump(mode="python", by_alias=True, exclude_unset=True)
    made = {key: _written(value, (root, key)) for key, value in data.items() if value is not None}
    if isinstance(part, BrokerResource) and part.durability is not None:
        made["durability"] = str(part.durability)
    return made


def _written(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _written(each, (*path, key)) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_written(each, path) for each in value]
    if isinstance(value, str):
        return str(value) if is_kept(path) else value.replace("$", "$$")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
