"""Holds the embedded broker for a process that uses it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from taskserver.embedded import locks
from taskserver.embedded.home import Home
from taskserver.embedded.launch import ensure_running


class EmbeddedBroker:
    """One user's hold on the embedded broker: the server runs as long as there is any.

    Each hold counts separately, also within one process. It ends with :meth:`release`, with the ``with`` block, or with
    the process, however that ends. Programs that the process starts do not share it; a fork that does not start another
    program does, until it ends.

    Attributes:
        home: The broker's folder.
    """

    def __init__(self, home: Home, lock: BinaryIO) -> None:
        self.home = home
        self._lock = lock

    @classmethod
    def acquire(cls, home: Path | None = None) -> Self:
        """Find or start the broker of ``home``, and hold it. Blocks: from async code, call it in a thread.

        Args:
            home: The broker's folder; by default the one that :meth:`Home.locate` finds.

        Raises:
            BrokerUnavailable: if there is no server program, or it does not start.
            ConfigError: if the folder cannot be used, or ``TASKSERVER_REDIS_BIN`` is wrong.
        """
        located = Home.locate(home).create()
        lock = locks.share(located.users_lock)
        try:
            ensure_running(located)
        except BaseException:
            lock.close()
            raise
        return cls(located, lock)

    @property
    def url(self) -> str:
        """The broker URL, ``unix:///path/to.sock``."""
        return self.home.url

    def release(self) -> None:
        """Release the broker; harmless when repeated. The server stops soon after its last user."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
