"""The broker of a process's tests: a server of its own in a temporary folder, which ends with the process."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskserver.config.settings import settings
from taskserver.config.texts import variable
from taskserver.embedded import EmbeddedBroker, stop, wire
from taskserver.errors import BrokerError

_URL = variable("broker_url")
_SET_ASIDE = tuple(map(variable, ("queue", "durability", "signing_keys")))
"""Variables that say where jobs go and how: those of the environment are meant for another broker."""


@contextmanager
def private_broker() -> Iterator[str]:
    """A broker that nothing outside this process's tests uses, for as long as the block; yields its URL.

    The process's first block starts it, every block that is not inside another one finds it empty, and it is gone when
    the process has ended.

    Inside the block it is *the* broker: whatever is given no URL uses it (``Client()``, ``SyncClient()``,
    ``Inspector()``, the ``taskserver`` commands that the program starts). For that time, ``TASKSERVER_BROKER_URL`` is
    its URL, and ``TASKSERVER_QUEUE``, ``TASKSERVER_DURABILITY`` and ``TASKSERVER_SIGNING_KEYS`` are not set.

    Raises:
        BrokerUnavailable: if there is no server program, or it does not start.
        ConfigError: if ``TASKSERVER_REDIS_BIN`` is wrong.
    """
    broker = _of_this_process()
    url = broker.enter()
    try:
        yield url
    finally:
        broker.leave()


def start_private_broker() -> None:
    """Start the broker, if it is not running, so that entering ``private_broker`` does not take long. Blocks.

    Raises:
        BrokerUnavailable, ConfigError: as ``private_broker``.
    """
    _of_this_process().start()


class _PrivateBroker:
    """The broker, and how many blocks use it. Blocks may be entered and left in any thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.RLock()
        self._server: EmbeddedBroker | None = None
        self._uses = 0
        self._outside: dict[str, str | None] = {}

    def start(self) -> EmbeddedBroker:
        with self._lock:
            if self._server is None:
                folder = Path(tempfile.mkdtemp(prefix="taskserver-testing-"))
                try:
                    self._server = EmbeddedBroker.acquire(folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
                atexit.register(self._stop)
            return self._server

    def enter(self) -> str:
        with self._lock:
            url = self.start().url if self._uses else self._empty().url
            self._uses += 1
            if self._uses == 1:
                self._outside = {name: os.environ.pop(name, None) for name in (_URL, *_SET_ASIDE)}
                os.environ[_URL] = url
                settings.cache_clear()
            return url

    def leave(self) -> None:
        with self._lock:
            self._uses -= 1
            if self._uses == 0:
                os.environ.pop(_URL, None)
                os.environ.update({name: text for name, text in self._outside.items() if text is not None})
                settings.cache_clear()

    def _empty(self) -> EmbeddedBroker:
        """The running server, without data; another one if it does not answer."""
        if wire.ask(self.start().home.socket, "FLUSHALL") != "+OK":
            self._stop()
            self.start()
        return self.start()

    def _stop(self) -> None:
        """Stop the server, and remove its folder; a forked process leaves that to its parent."""
        if self._server is None or self.pid != os.getpid():
            return
        server, self._server = self._server, None
        atexit.unregister(self._stop)
        server.release()
        with suppress(BrokerError):
            stop(server.home.root, force=True)
        shutil.rmtree(server.home.root, ignore_errors=True)


_current = _PrivateBroker()


def _of_this_process() -> _PrivateBroker:
    global _current
    if _current.pid != os.getpid():
        _current = _PrivateBroker()
    return _current
