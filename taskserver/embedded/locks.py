"""Advisory locks on files, which the kernel releases when their holder ends, even by SIGKILL.

Every function works on an open file, and a lock lives until that file is closed. Files are opened
non-inheritable, as Python does: a program started by a user of the broker does not hold the user's lock.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from taskserver.errors import ConfigError


def open_lock(path: Path) -> BinaryIO:
    """Open the lock file ``path``, making it if needed.

    Raises:
        ConfigError: if this user may not.
    """
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise ConfigError(
            f"cannot open the lock file {str(path)!r} ({error.strerror}): use the embedded broker as the "
            "user who started it, or set TASKSERVER_HOME to another folder"
        ) from error


def share(path: Path) -> BinaryIO:
    """Take the lock ``path`` together with others, waiting while somebody holds it alone."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
    except BaseException:
        lock.close()
        raise
    return lock


def try_share(lock: BinaryIO) -> bool:
    """Take ``lock`` together with others, unless somebody holds it alone; whether it was taken."""
    return _try(lock, fcntl.LOCK_SH)


def try_own(lock: BinaryIO) -> bool:
    """Take ``lock`` alone, unless somebody holds it; whether it was taken."""
    return _try(lock, fcntl.LOCK_EX)


@contextmanager
def owned(path: Path) -> Iterator[BinaryIO | None]:
    """Hold the lock ``path`` alone inside a ``with`` block, which gets None when somebody else holds it."""
    with open_lock(path) as lock:
        yield lock if try_own(lock) else None


def _try(lock: BinaryIO, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
