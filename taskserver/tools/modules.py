"""Imports modules named on the command line or in a file, and explains what goes wrong."""

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
        folder: Where to look up relative files and top-level modules first; it is added to ``sys.path``.

    Raises:
        ConfigError: if there is no such module, or it fails to import.
        TaskServerError: as raised, if a declaration in the module is invalid: the message says where.
    """
    _search_first(folder)
    if name.endswith(".py") or "/" in name:
        return _import_file(folder / name)
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"{name!r} is not a module: use a dotted name such as my_agent.tools, or a file such as ./tools.py"
        )
    return _import(name, folder)


def import_named(name: str) -> ModuleType:
    """Import a module by its dotted name, from this process's module path.

    Raises:
        ConfigError: if there is no such module, or it fails to import.
        TaskServerError: as with ``import_module``.
    """
    return _import(name, Path.cwd())


def _import_file(path: Path) -> ModuleType:
    """Import a file under its usual name: as part of its package, if it is in one."""
    path = path.resolve()
    if not path.is_file():
        near = did_you_mean(path.name, (each.name for each in path.parent.glob("*.py")))
        raise ConfigError(f"cannot load tools from {path}: there is no such file{near}")
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _search_first(folder)
    module = _import(".".join(parts), folder)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise ConfigError(
            f"cannot load tools from {path}: another module is called {module.__name__!r}; rename the file"
        )
    return module


def _import(name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TaskServerError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module {name!r}{_nearest(error.name, folder)}") from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _nearest(missing: str, folder: Path) -> str:
    """A suggestion from the modules in the same package or folder."""
    parent, _, _ = missing.rpartition(".")
    paths = getattr(sys.modules.get(parent), "__path__", None) if parent else [str(folder)]
    beside = [f"{parent}.{each.name}".lstrip(".") for each in pkgutil.iter_modules(paths or [])]
    return did_you_mean(missing, beside) or f"; searched in {folder} and the installed packages"


def _failed(name: str, error: BaseException) -> ConfigError:
    """The error with the traceback of the module, without the frames that imported it."""
    summary = traceback.TracebackException.from_exception(error)
    own = [frame for frame in summary.stack if not frame.filename.startswith(_MACHINERY)]
    summary.stack = traceback.StackSummary.from_list(own)
    summary.__cause__ = summary.__context__ = None
    return ConfigError(f"module {name!r} failed to import:\n{''.join(summary.format()).rstrip()}")


def _search_first(folder: Path) -> None:
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)
        importlib.invalidate_caches()
