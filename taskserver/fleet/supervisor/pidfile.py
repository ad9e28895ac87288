"""A file with the number of a running process: locked as long as it runs, and gone when it has ended well."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from taskserver.errors import ConfigError


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Hold the file ``path`` with this process's number inside a ``with`` block.

    One that a killed process left behind is taken over: its lock went with that process.

    Raises:
        ConfigError: if the file cannot be written, or a process that runs holds it.
    """
    descriptor = _hold(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)  # before the lock is let go of, so that it is never another's
        os.close(descriptor)


def _hold(path: str) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"the pid file {path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigError(
                f"a worker runs already by the pid file {path} (process {holder}): stop it, or name another file"
            ) from None
        os.close(descriptor)  # its holder has just removed it
