"""Writing data line by line, to stdout or into a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskserver.cli.stdout import write
from taskserver.errors import ConfigError
from taskserver.files import replacing

WriteLine = Callable[[str], object]


@contextmanager
def line_writer(file: str | None) -> Iterator[WriteLine]:
    """A function that writes one line to ``file``, or to stdout if that is None or ``-``.

    The file replaces an older one when the block ends without an error, and only then.

    Raises:
        ConfigError: if the file cannot be written.
    """
    if file in (None, "-"):
        yield write
        return
    try:
        with replacing(Path(str(file))) as out:
            yield lambda line: out.write(f"{line}\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from None
