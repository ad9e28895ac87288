"""Writing files as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[TextIO]:
    """A new text file that replaces ``path`` when the block ends without an error, and only then.

    Args:
        path: The file; its folder must exist.
        mode: Who may read and write it.

    Raises:
        OSError: if it cannot be written.
    """
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            yield file
        os.chmod(part, mode)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
