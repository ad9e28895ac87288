"""A file with the pid of a running process: locked while it runs, and removed when it exits normally."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskserver.errors import ConfigError
from taskserver.files import open_own


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Hold the PID file ``path`` for this process inside a ``with`` block.

    One that a killed process left is taken over: the lock went with that process.

    Raises:
        ConfigError: if the file cannot be written or is not this user's own, or a running process holds it.
    """
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)  # before the lock is released, so that it is never another process's file
        os.close(descriptor)


def _lock(path: str) -> int:
    while True:
        try:
            descriptor = open_own(Path(path), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write the PID file {path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.lstat(path).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigError(
                f"a worker with the PID file {path} is already running (process {holder}): stop it or use another file"
            ) from None
        os.close(descriptor)  # the process that held it has just removed it
