"""Writing data line by line, to stdout or into a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from taskserver.errors import ConfigError

Write = Callable[[str], object]


@contextmanager
def written(place: str | None) -> Iterator[Write]:
    """A function that writes one line to the file at ``place``, or to stdout if that is None or ``-``.

    The file appears under its name when the block ends well; before, and otherwise, what was there stays.

    Raises:
        ConfigError: if the file cannot be written.
    """
    if place in (None, "-"):
        yield click.echo
        return
    path = Path(str(place))
    try:
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                yield lambda line: file.write(f"{line}\n")
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror or error}") from None
