"""Implements ``taskserver broker start | stop | status``."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taskserver.embedded import locks, wire
from taskserver.embedded.broker import EmbeddedBroker
from taskserver.embedded.home import Home
from taskserver.embedded.keeper import shut_down
from taskserver.errors import BrokerError

STOP_SECONDS = 10.0
"""Maximum time for a stop; the keeper kills a server that has not ended after 5 s."""
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """The status of the embedded broker of one home.

    Attributes:
        running: Whether a server answers.
        url: Its broker URL, even if it is not running.
        pid: Its process id; None if it is not running.
        version: Its name and version, such as ``Valkey 9.1.2``; empty if it is not running.
        users: Whether any process uses it.
        stays: Whether it keeps running without users.
        home: The broker's folder.
        data_bytes: Size of its data on disk.
        log: Its log file.
    """

    running: bool
    url: str
    pid: int | None
    version: str
    users: bool
    stays: bool
    home: Path
    data_bytes: int
    log: Path


def start(home: Path | None = None) -> EmbeddedStatus:
    """Start the broker of ``home`` if it is not running, and keep it running without users until :func:`stop`.

    Raises:
        BrokerUnavailable: if there is no server program, or it does not start.
        ConfigError: if the folder cannot be used, or ``TASKSERVER_REDIS_BIN`` is wrong.
    """
    with EmbeddedBroker.acquire(home) as broker:
        broker.home.mark_stay()
    return status(home)


def stop(home: Path | None = None, *, force: bool = False) -> bool:
    """Stop the broker of ``home``; its data is kept.

    Args:
        home: The broker's folder; by default the one that :meth:`Home.locate` finds.
        force: Stop it even if it is in use.

    Returns:
        Whether it was running.

    Raises:
        BrokerError: if it is in use and ``force`` is not set, or it does not end.
        ConfigError: if other users could tamper with the folder.
    """
    located = Home.locate(home).check()
    if not located.users_lock.exists():
        return False
    with locks.open_lock(located.users_lock) as lock:
        # Held exclusively until the server is gone, so that new users wait; if it is not free, the keeper is stopping.
        if not locks.try_own(lock) and locks.try_share(lock) and not force:
            raise BrokerError(
                f"the embedded broker in {located.root} is in use: stop its workers and clients first, or use --force"
            )
        located.stay.unlink(missing_ok=True)
        return _await_end(located)


def status(home: Path | None = None) -> EmbeddedStatus:
    """The status of the broker of ``home``; creates and starts nothing.

    Raises:
        ConfigError: if other users could tamper with the folder.
    """
    located = Home.locate(home).check()
    facts = wire.info(located.socket)
    pid = facts.get("process_id")
    return EmbeddedStatus(
        running=pid is not None,
        url=located.url,
        pid=int(pid) if pid else None,
        version=_version(facts),
        users=_has_users(located),
        stays=located.stay.exists() and pid is not None,
        home=located.root,
        data_bytes=sum(map(_size, located.data.rglob("*"))),
        log=located.log,
    )


def _await_end(home: Home) -> bool:
    """Stop the server until neither it nor its keeper is left; return whether there was one."""
    was_running = False
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        with locks.owned(home.keeper_lock) as keeper, locks.owned(home.data_lock) as data:
            if keeper and data:
                return was_running
        was_running = True
        if keeper:
            shut_down(str(home.socket), 1.0)  # its keeper was killed
        else:
            _signal_keeper(home)
        time.sleep(_POLL_SECONDS)
    raise BrokerError(
        f"the embedded broker in {home.root} did not stop within {STOP_SECONDS:g} s: "
        f"see {home.log}, and kill its server process"
    )


def _signal_keeper(home: Home) -> None:
    """Ask the keeper to stop, unless it has just ended or has not written its process id yet."""
    with suppress(OSError, ValueError):
        os.kill(int(home.keeper_lock.read_bytes()), signal.SIGTERM)


def _has_users(home: Home) -> bool:
    if not home.users_lock.exists():
        return False
    with locks.open_lock(home.users_lock) as lock:
        return not locks.try_own(lock) and locks.try_share(lock)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # the server rewrites its files while they are counted
        return 0


def _version(facts: dict[str, str]) -> str:
    for name in ("valkey", "redis"):
        if version := facts.get(f"{name}_version"):
            return f"{name.capitalize()} {version}"
    return ""
