"""The ``.taskserver/`` folder: where the embedded broker keeps its data, socket, log and locks."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from taskserver.errors import ConfigError

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
        ``start`` or the current folder; if there is none, it is that folder itself. Nothing is created.
        """
        configured = folder or os.environ.get(HOME_VARIABLE) or _project(start or Path.cwd()) / FOLDER
        return cls(Path(configured).expanduser().resolve())

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
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.data.mkdir(mode=0o700, exist_ok=True)
            if not os.access(self.data, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "its data folder is not writable")
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise ConfigError(
                f"cannot use {str(self.root)!r} for the embedded broker ({error.strerror}): "
                f"set {HOME_VARIABLE} to a writable folder, or TASKSERVER_BROKER_URL to a broker"
            ) from error
        if self.socket.parent != self.root:
            _make_private(self.socket.parent)
        return self


def _project(here: Path) -> Path:
    for folder in (here, *here.parents):
        if any((folder / mark).exists() for mark in _PROJECT_MARKS):
            return folder
    return here


def _make_private(folder: Path) -> None:
    """Make ``folder``, or check that an existing one is private to this user: anyone may write beside it."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid == os.geteuid() and found.st_mode == stat.S_IFDIR | 0o700:
            return
    raise ConfigError(
        f"{str(folder)!r} is not private to this user, and is needed because the home's path is too long for a "
        f"socket: remove it, or set {HOME_VARIABLE} to a shorter path"
    )
