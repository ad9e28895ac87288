"""What is up, on disk: a folder for each configuration file, ``up/NAME-DIGEST`` in the project's ``.taskserver``.

==============  ====================================================================================
``lock``        held by the process that keeps the file up, as long as it runs
``state.json``  the ``UpState`` that this process writes; it counts only while the lock is held
``log``         the log of a process in the background
==============  ====================================================================================
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec

from taskserver.embedded import Home, locks
from taskserver.embedded.home import HOME_VARIABLE, make_own_root
from taskserver.errors import ConfigError
from taskserver.files import check_own_folder, make_own_folder, replacing

_POLL_SECONDS = 0.02
_STATE_SECONDS = 5.0

_held: list[BinaryIO] = []
"""Locks that this process keeps until it ends."""


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """One task server that is up.

    Attributes:
        task_server: Its name.
        wanted: How many replicas it should have.
        ready: How many take jobs.
        replica_pids: The processes of those.
        queues: The queues that they work on.
        broker: The broker's name in the file.
    """

    task_server: str
    wanted: int
    ready: int
    replica_pids: list[int]
    queues: list[str]
    broker: str


class UpState(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is up.

    Attributes:
        file: The file.
        pid: The process that keeps it up.
        since: When that began, in seconds since 1970.
        servers: Its task servers.
    """

    file: str
    pid: int
    since: float
    servers: list[ServerState]


class UpFolder:
    """The folder of one configuration file.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        log: The log of a process in the background.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        self._lock = path / "lock"
        self._state = path / "state.json"

    @classmethod
    def of(cls, file: str) -> UpFolder:
        """The folder of a configuration file; it is not created."""
        path = Path(file).resolve()
        digest = blake2b(os.fsencode(path), digest_size=6).hexdigest()
        return cls(Home.locate(start=path.parent).root / "up" / f"{path.stem}-{digest}")

    @classmethod
    def all(cls) -> list[UpFolder]:
        """The folders of all files of this project that have been up.

        Raises:
            ConfigError: if this user may not read them, or other users could tamper with them.
        """
        up = cls(Home.locate().root / "up")
        up._check(up.path.parent, up.path)
        try:
            return [cls(folder) for folder in sorted(up.path.iterdir()) if (folder / "lock").exists()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise up._unusable(error) from None

    def create(self) -> UpFolder:
        """Create the folder if it does not exist.

        Raises:
            ConfigError: if this user may not, or other users could tamper with it.
        """
        try:
            root, *folders = self._folders()
            make_own_root(root)
            for folder in folders:
                make_own_folder(folder)
        except OSError as error:
            raise self._unusable(error) from None
        return self

    def _folders(self) -> tuple[Path, ...]:
        """The home, the folder ``up`` in it, and this folder."""
        return self.path.parent.parent, self.path.parent, self.path

    def _check(self, *folders: Path) -> None:
        """Refuse folders in which another user could have put a state: its process would get our signals."""
        try:
            for folder in folders:
                check_own_folder(folder)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"cannot use the folder {error.filename or str(self.path)!r} ({error.strerror}): "
            f"set {HOME_VARIABLE} to a folder of your own"
        )

    @contextmanager
    def hold(self, file: str) -> Iterator[None]:
        """Hold the lock inside a ``with`` block, and beyond it until this process ends: ``stop`` waits for that.

        Raises:
            ConfigError: if the file is already up.
        """
        lock = locks.open_lock(self.create()._lock)
        if not locks.try_own(lock):
            lock.close()
            raise self.already_up(file)
        _held.append(lock)
        try:
            yield
        finally:
            self._state.unlink(missing_ok=True)

    def already_up(self, file: str) -> ConfigError:
        """The error for a file that is already up."""
        state = self.read_state()
        process = f" (process {state.pid})" if state else ""
        return ConfigError(f"{file} is already up{process}: stop it with taskserver down --config-file {file}")

    def write_state(self, state: UpState) -> None:
        """Write what is up; only for the process that holds the lock.

        Raises:
            ConfigError: if it cannot be written.
        """
        try:
            with replacing(self._state) as file:
                file.write(msgspec.json.encode(state).decode())
        except OSError as error:
            raise self._unusable(error) from None

    def read_state(self) -> UpState | None:
        """Read what is up; None if nothing is. Waits a moment for a process that has just started.

        Raises:
            ConfigError: if this user may not read it, or other users could tamper with it.
        """
        self._check(*self._folders())
        deadline = time.monotonic() + _STATE_SECONDS
        while self._is_held() and time.monotonic() < deadline:
            with suppress(OSError, msgspec.DecodeError):
                return msgspec.json.decode(self._state.read_bytes(), type=UpState)
            time.sleep(_POLL_SECONDS)
        return None

    def stop(self, *, hurry: bool = False) -> bool:
        """Stop what is up and wait until it is gone; with ``hurry``, do not wait for running jobs.

        Returns:
            Whether anything was up.
        """
        state = self.read_state()
        if state is None:
            return False
        for _ in range(2 if hurry else 1):
            with suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGTERM)
        locks.share(self._lock).close()  # waits for the kernel, which releases the lock when that process has ended
        return True

    def _is_held(self) -> bool:
        try:
            if not self._lock.exists():
                return False
        except OSError as error:
            raise self._unusable(error) from None
        with locks.open_lock(self._lock) as lock:
            return not locks.try_share(lock)
