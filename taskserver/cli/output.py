"""Writing data line by line, to stdout or into a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from taskserver.errors import ConfigError

WriteLine = Callable[[str], object]


@contextmanager
def line_writer(file: str | None) -> Iterator[WriteLine]:
    """A function that writes one line to ``file``, or to stdout if that is None or ``-``.

    The file replaces an older one when the block ends without an error, and only then.

    Raises:
        ConfigError: if the file cannot be written.
    """
    if file in (None, "-"):
        yield click.echo
        return
    path = Path(str(file))
    try:
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as out:
                yield lambda line: out.write(f"{line}\n")
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from None
