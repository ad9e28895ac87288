"""What is up: for each configuration file a folder, ``up/NAME-DIGEST`` in the project's ``.taskserver``.

==============  ====================================================================================
``lock``        held by the process that brings the file up, as long as it runs
``state.json``  what that process says of itself; only of worth while the lock is held
``log``         of one in the background
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
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.errors import ConfigError

_POLL_SECONDS = 0.02
_STATE_SECONDS = 5.0

_held: list[BinaryIO] = []
"""Locks that are kept until this process ends."""


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """One task server that is up.

    Attributes:
        task_server: Its name.
        wanted: Replicas that it should have.
        ready: Replicas that take jobs.
        replica_pids: Their processes.
        queues: What they work on.
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
    """The folder for one configuration file.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "lock"
        self.log = folder / "log"
        self._state = folder / "state.json"

    @classmethod
    def of(cls, file: str) -> UpFolder:
        """The place of a configuration file; nothing is created."""
        path = Path(file).resolve()
        digest = blake2b(os.fsencode(path), digest_size=6).hexdigest()
        return cls(Home.locate(start=path.parent).root / "up" / f"{path.stem}-{digest}")

    @classmethod
    def all(cls) -> list[UpFolder]:
        """The places of every file of this project that has been up.

        Raises:
            ConfigError: if this user may not look.
        """
        up = cls(Home.locate().root / "up")
        try:
            return [cls(lock.parent) for lock in sorted(up.folder.glob("*/lock"))]
        except OSError as error:
            raise up._unusable(error) from None

    def create(self) -> UpFolder:
        """Make the folder.

        Raises:
            ConfigError: if this user may not.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            ignore = self.folder.parent.parent / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise self._unusable(error) from None
        return self

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"cannot keep in {str(self.folder)!r} what is up ({error.strerror}): "
            f"set {HOME_VARIABLE} to a folder that you may write to"
        )

    @contextmanager
    def held(self, file: str) -> Iterator[None]:
        """Keep the file up, inside a ``with`` block; the lock is the process's until its end, for which others wait.

        Raises:
            ConfigError: if it is up already.
        """
        lock = locks.open_lock(self.create().lock)
        if not locks.try_own(lock):
            lock.close()
            raise self.is_up(file)
        _held.append(lock)
        try:
            yield
        finally:
            self._state.unlink(missing_ok=True)

    def is_up(self, file: str) -> ConfigError:
        """The error for a file that is up already."""
        state = self.state()
        who = f" (process {state.pid})" if state else ""
        return ConfigError(f"{file} is up already{who}: end it with taskserver down --config-file {file}")

    def write(self, state: UpState) -> None:
        """Say what is up; only for who holds it.

        Raises:
            ConfigError: if it cannot be written.
        """
        part = self._state.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(state))
            part.replace(self._state)
        except OSError as error:
            raise self._unusable(error) from None

    def state(self) -> UpState | None:
        """What is up; None if nothing is. Waits a moment for a process that has just begun.

        Raises:
            ConfigError: if this user may not look.
        """
        deadline = time.monotonic() + _STATE_SECONDS
        while self._is_held() and time.monotonic() < deadline:
            with suppress(OSError, msgspec.DecodeError):
                return msgspec.json.decode(self._state.read_bytes(), type=UpState)
            time.sleep(_POLL_SECONDS)
        return None

    def end(self, *, hurry: bool = False) -> bool:
        """Let what is up drain, or do not even wait; return when it is gone. Whether there was something."""
        state = self.state()
        if state is None:
            return False
        for _ in range(2 if hurry else 1):
            with suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGTERM)
        locks.share(self.lock).close()  # waits for the kernel, which lets go of it when that process has ended
        return True

    def _is_held(self) -> bool:
        try:
            if not self.lock.exists():
                return False
        except OSError as error:
            raise self._unusable(error) from None
        with locks.open_lock(self.lock) as lock:
            return not locks.try_share(lock)
