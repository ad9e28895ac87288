"""Which source files this process was made from, for whoever restarts it when they change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int]
"""When a file was changed, in nanoseconds, and its size: together they tell that it was changed again."""


def stamp(name: str) -> Stamp:
    """A file as it is now; zeros if it is gone."""
    try:
        status = os.stat(name)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def loaded_files() -> dict[str, Stamp]:
    """The source files of loaded modules below the current directory, but for installed packages."""
    return _own(getattr(module, "__file__", None) for module in list(sys.modules.values()))


def files_of(error: BaseException) -> dict[str, Stamp]:
    """The same, and those in which an import failed: its traceback leads through them, a syntax error names its own."""
    places: list[str | None] = []
    link: BaseException | None = error
    while link is not None:
        trace = link.__traceback__
        while trace is not None:
            places.append(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        if isinstance(link, SyntaxError):
            places.append(link.filename)
        link = link.__cause__
    return _own(places) | loaded_files()


def _own(places: Iterable[str | None]) -> dict[str, Stamp]:
    here = Path.cwd()
    ours = Path(__file__).resolve().parents[1]
    found = {Path(place).resolve() for place in places if place and place.endswith(".py")}
    return {
        str(path): stamp(str(path))
        for path in sorted(found)
        if path.is_relative_to(here) and not path.is_relative_to(ours) and "site-packages" not in path.parts
    }
