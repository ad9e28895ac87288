"""Which source files this process was loaded from, so that a supervisor can restart it when they change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """When a file was changed, in nanoseconds, and its size in bytes: if neither differs, the file is the same."""

    changed: int = 0
    size: int = 0


def stamp(name: str) -> Stamp:
    """The stamp of a file as it is now; zeros if it is gone."""
    try:
        status = os.stat(name)
    except OSError:
        return Stamp()
    return Stamp(status.st_mtime_ns, status.st_size)


def loaded_files() -> dict[str, Stamp]:
    """The source files of loaded modules below the current directory, without installed packages."""
    return _own_files(getattr(module, "__file__", None) for module in list(sys.modules.values()))


def files_of(error: BaseException) -> dict[str, Stamp]:
    """``loaded_files``, and those in which an import failed: in its traceback, or named by its syntax error."""
    paths: list[str | None] = []
    cause: BaseException | None = error
    while cause is not None:
        trace = cause.__traceback__
        while trace is not None:
            paths.append(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        if isinstance(cause, SyntaxError):
            paths.append(cause.filename)
        cause = cause.__cause__
    return _own_files(paths) | loaded_files()


def _own_files(paths: Iterable[str | None]) -> dict[str, Stamp]:
    here = Path.cwd()
    package = Path(__file__).resolve().parents[1]
    found = {Path(path).resolve() for path in paths if path and path.endswith(".py")}
    return {
        str(path): stamp(str(path))
        for path in sorted(found)
        if path.is_relative_to(here) and not path.is_relative_to(package) and "site-packages" not in path.parts
    }
