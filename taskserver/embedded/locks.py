"""Advisory locks on files, which the kernel releases when their holder ends, even by SIGKILL.

Every function works on an open file, and a lock is held until that file is closed. Files are not inherited by child
programs, which is Python's default: a program started by a user of the broker does not hold the user's lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from taskserver.errors import ConfigError
from taskserver.files import open_own


def open_lock(path: Path) -> BinaryIO:
    """Open the lock file ``path``, creating it if necessary.

    Raises:
        ConfigError: if this user may not open it, or it is not this user's own.
    """
    try:
        return open(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", buffering=0)
    except OSError as error:
        raise ConfigError(
            f"cannot open the lock file {str(path)!r} ({error.strerror}): use the embedded broker as the "
            "user who started it, or set TASKSERVER_HOME to another folder"
        ) from error


def share(path: Path) -> BinaryIO:
    """Take a shared lock on ``path``, waiting while another process holds it exclusively."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
    except BaseException:
        lock.close()
        raise
    return lock


def try_share(lock: BinaryIO) -> bool:
    """Take a shared lock unless another process holds it exclusively; return whether it was taken."""
    return _try(lock, fcntl.LOCK_SH)


def try_own(lock: BinaryIO) -> bool:
    """Take an exclusive lock unless another process holds the lock; return whether it was taken."""
    return _try(lock, fcntl.LOCK_EX)


@contextmanager
def owned(path: Path) -> Iterator[BinaryIO | None]:
    """Hold an exclusive lock on ``path`` inside the block; yields None if another process holds the lock."""
    with open_lock(path) as lock:
        yield lock if try_own(lock) else None


def _try(lock: BinaryIO, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
