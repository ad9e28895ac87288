"""The ``.taskserver/`` folder: where the embedded broker keeps its data, socket, log and locks.

Whoever can write to it can make this user's processes kill others, append to other files, or take another server for
the broker. So a home that is found must be this user's own, with everything in it (``files.py``).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

from taskserver.config.texts import read_variable
from taskserver.errors import ConfigError
from taskserver.files import check_own_folder, make_own_folder, open_own

HOME_VARIABLE = "TASKSERVER_HOME"
FOLDER = ".taskserver"
_PROJECT_MARKS = (FOLDER, "pyproject.toml", ".git")

SOCKET_PATH_LIMIT = 103
"""Maximum length of a unix socket path in bytes: macOS has room for 104 with the final NUL, Linux for 108."""

# Not tempfile.gettempdir(): TMPDIR may differ between processes that must use the same socket.
_SHORT_FOLDER = "/tmp/taskserver-{uid}"  # noqa: S108 - private to the user, which is checked


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one embedded broker, and the paths in it.

    Attributes:
        root: The absolute path of the folder.
    """

    root: Path

    @classmethod
    def locate(cls, folder: Path | None = None, start: Path | None = None) -> Self:
        """The home at ``folder``, or at ``TASKSERVER_HOME``, or in ``.taskserver`` of the current project.

        The project is the nearest folder with a ``.taskserver``, ``pyproject.toml`` or ``.git``, searched upwards from
        ``start`` or the current folder; if there is none, it is that folder itself. Nothing is created or checked.
        """
        configured = folder or read_variable(HOME_VARIABLE)
        if configured:
            return cls(_followed(Path(configured).expanduser()))
        return cls(_project(start or Path.cwd()).resolve() / FOLDER)

    @property
    def data(self) -> Path:
        """The server's own folder, with its append-only file."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """The log of server and keeper."""
        return self.root / "broker.log"

    @property
    def users_lock(self) -> Path:
        """Shared by every user of the broker."""
        return self.root / "users.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the keeper."""
        return self.root / "keeper.lock"

    @property
    def data_lock(self) -> Path:
        """Held by the server."""
        return self.root / "data.lock"

    @property
    def stay(self) -> Path:
        """The marker file that keeps the server running without users."""
        return self.root / "stay"

    @property
    def socket(self) -> Path:
        """The server's unix socket: in the home, or in a folder with a shorter path if that would be too long."""
        path = self.root / "broker.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
            return path
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=12).hexdigest()
        return Path(_SHORT_FOLDER.format(uid=os.geteuid())) / f"{digest}.sock"

    @property
    def url(self) -> str:
        """The broker URL of the socket."""
        return f"unix://{quote(str(self.socket))}"

    def create(self) -> Self:
        """Create missing folders, private to this user, and return the home.

        Raises:
            ConfigError: if that is not possible, or other users could tamper with a folder.
        """
        with self._usable():
            make_own_root(self.root)
            make_own_folder(self.data)
            if not os.access(self.data, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "its data folder is not writable")
        if self.socket.parent != self.root:
            _make_private(self.socket.parent)
        return self

    def check(self) -> Self:
        """Return the home if other users cannot tamper with what exists of it.

        Raises:
            ConfigError: if they can.
        """
        with self._usable():
            for folder in (self.root, self.data):
                check_own_folder(folder)
        return self

    def open_log(self) -> BinaryIO:
        """Open the log for appending; it is created if necessary.

        Raises:
            ConfigError: if that is not possible, or it is not this user's own.
        """
        with self._usable():
            return open(open_own(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")

    def mark_stay(self) -> None:
        """Make the marker file ``stay``.

        Raises:
            ConfigError: if that is not possible, or it is not this user's own.
        """
        with self._usable():
            os.close(open_own(self.stay, os.O_WRONLY | os.O_CREAT))

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"cannot use {error.filename or str(self.root)!r} for the embedded broker ({error.strerror}): "
                f"set {HOME_VARIABLE} to a folder of your own, or TASKSERVER_BROKER_URL to a broker"
            ) from error


def make_own_root(root: Path) -> None:
    """Make the folder of a home, which Git ignores, or check the one that is there.

    Raises:
        OSError: if that is not possible, or other users could tamper with it.
    """
    make_own_folder(root)
    ignore = root / ".gitignore"
    if not os.path.lexists(ignore):
        ignore.write_text("*\n")


def _followed(path: Path) -> Path:
    """The folder that a user named, even by a link; but not by one that somebody else may have put there."""
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        return path.absolute()
    return path.resolve()


def _project(here: Path) -> Path:
    for folder in (here, *here.parents):
        if any(os.path.lexists(folder / mark) for mark in _PROJECT_MARKS):
            return folder
    return here


def _make_private(folder: Path) -> None:
    """Make the folder for a socket with a short path, or check the one that is there: anyone may write beside it."""
    try:
        make_own_folder(folder)
    except OSError as error:
        raise ConfigError(
            f"{str(folder)!r} is not private to this user ({error.strerror}), and is needed because the home's path is "
            f"too long for a socket: remove it, or set {HOME_VARIABLE} to a shorter path"
        ) from None
