"""Files and folders in places where other users may write: they are ours alone, or refused.

In such a place somebody else may have put a link to one of our files, or a file or folder that they can still change.
So no link is followed, and what is found there must belong to this user. ``replacing`` also writes a file as a whole or
not at all.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_own_folder(path: Path) -> None:
    """Make a folder that only this user can enter, or check the one that is there as :func:`check_own_folder` does.

    Raises:
        OSError: if it cannot be made, or is not ours alone; ``strerror`` says why.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    check_own_folder(path)


def check_own_folder(path: Path) -> None:
    """Check that no other user can have put anything into a folder. One that does not exist is in order.

    Raises:
        OSError: if it is a link, belongs to somebody else or is open to others; ``strerror`` says so.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(path, "it is a link, not a folder" if stat.S_ISLNK(found.st_mode) else "it is not a folder")
    _check_owner(path, found)
    if found.st_mode & _OTHERS_WRITE:
        raise _refused(path, "other users can write to it: run chmod go-w on it if you trust what is in it")


def open_own(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a regular file of this user, and return its descriptor. The file must have no other name.

    Args:
        path: The file; it may be in a folder where everybody can write.
        flags: As for ``os.open``.
        mode: Of a new file. Write permissions that others have on an existing one are removed: it is ours.

    Raises:
        OSError: if it cannot be opened, or is not ours; ``strerror`` says why.
    """
    try:
        # Without O_NONBLOCK, a named pipe in its place would be waited for.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path, "it is a link: name the file itself") from None
        raise
    try:
        found = os.fstat(descriptor)
        _check_own_file(path, found)
        if found.st_mode & _OTHERS_WRITE:
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _refused(path, "it is not a regular file")
    _check_owner(path, found)
    if found.st_nlink > 1:
        raise _refused(path, "the file has another name too, so it may be another file of yours")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _refused(path, f"it belongs to another user, with the id {found.st_uid}")


def _refused(path: Path, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, str(path))


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
            os.fchmod(descriptor, mode)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
