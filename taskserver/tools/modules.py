"""Imports a module that somebody named on the command line or in a file, and explains what goes wrong."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType

from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, TaskServerError

_MACHINERY = (__file__, importlib.__file__, "<frozen importlib")


def import_module(name: str, folder: Path) -> ModuleType:
    """Import a module by its dotted name or its file.

    Args:
        name: ``my_agent.tools``, or ``./my_agent/tools.py``.
        folder: Where relative files and top-level modules are looked up first; it is put on ``sys.path``.

    Raises:
        ConfigError: if there is no such module, or it fails when it is imported.
        TaskServerError: as it was raised, if a declaration of ours failed in the module: it says where itself.
    """
    _search_first(folder)
    if name.endswith(".py") or "/" in name or "\\" in name:
        return _import_file(folder / name)
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{name!r} is not a module: write its dotted name, my_agent.tools, or its file, ./tools.py")
    return _import(name, folder)


def import_named(name: str) -> ModuleType:
    """Import a module by its dotted name, where this process looks modules up.

    Raises:
        ConfigError: if there is no such module, or it fails when it is imported.
        TaskServerError: as with ``import_module``.
    """
    return _import(name, Path.cwd())


def _import_file(path: Path) -> ModuleType:
    """Import a file under the name that it has for others: as part of its package, if it is in one."""
    path = path.resolve()
    if not path.is_file():
        near = did_you_mean(path.name, (each.name for each in path.parent.glob("*.py")))
        raise ConfigError(f"no file {path} to load tools from{near}")
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _search_first(folder)
    module = _import(".".join(parts), folder)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise ConfigError(f"{path} cannot be loaded: another module is called {module.__name__!r}; rename the file")
    return module


def _import(name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TaskServerError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"no module {name!r}{_nearest(error.name, folder)}") from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _nearest(missing: str, folder: Path) -> str:
    """What was probably meant, among the modules beside the one that is missing."""
    parent, _, _ = missing.rpartition(".")
    paths = getattr(sys.modules.get(parent), "__path__", None) if parent else [str(folder)]
    beside = [f"{parent}.{each.name}".lstrip(".") for each in pkgutil.iter_modules(paths or [])]
    return did_you_mean(missing, beside) or f"; looked in {folder} and the installed packages"


def _failed(name: str, error: BaseException) -> ConfigError:
    """The error with the traceback of the module alone, without the frames of whoever imported it."""
    summary = traceback.TracebackException.from_exception(error)
    own = [frame for frame in summary.stack if not frame.filename.startswith(_MACHINERY)]
    summary.stack = traceback.StackSummary.from_list(own)
    summary.__cause__ = summary.__context__ = None
    return ConfigError(f"module {name!r} failed when it was imported:\n{''.join(summary.format()).rstrip()}")


def _search_first(folder: Path) -> None:
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
        importlib.invalidate_caches()
