"""What ``taskserver broker start | stop | status`` do."""

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
"""How long a stop may take; the keeper kills a server that has not ended after 5 s."""
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """How the embedded broker of one home is.

    Attributes:
        running: Whether a server answers.
        url: Its broker URL, also when it does not run.
        pid: Its process id; None when it does not run.
        version: Its name and version, such as ``Valkey 9.1.2``; empty when it does not run.
        users: Whether any process uses it.
        stays: Whether it runs on without users.
        home: The folder of the broker.
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
    """Start the broker of ``home`` unless it runs, and let it run on without users until :func:`stop`.

    Raises:
        BrokerUnavailable: if there is no server program, or it does not start.
        ConfigError: if the folder cannot be used, or ``TASKSERVER_REDIS_BIN`` is wrong.
    """
    with EmbeddedBroker.acquire(home) as broker:
        broker.home.stay.touch(mode=0o600)
    return status(home)


def stop(home: Path | None = None, *, force: bool = False) -> bool:
    """Stop the broker of ``home``; its data stays.

    Args:
        home: Folder of the broker; by default the one of :meth:`Home.locate`.
        force: Stop it even while it is in use.

    Returns:
        Whether it was running.

    Raises:
        BrokerError: if it is in use and ``force`` is not set, or it does not end.
    """
    place = Home.locate(home)
    if not place.users_lock.exists():
        return False
    with locks.open_lock(place.users_lock) as lock:
        # Held alone until the server is gone, so that newcomers wait; no lock at all: the keeper is stopping.
        if not locks.try_own(lock) and locks.try_share(lock) and not force:
            raise BrokerError(
                f"the embedded broker in {place.root} is in use: "
                "stop its workers and clients first, or stop it by force"
            )
        place.stay.unlink(missing_ok=True)
        return _await_end(place)


def status(home: Path | None = None) -> EmbeddedStatus:
    """How the broker of ``home`` is; creates and starts nothing."""
    place = Home.locate(home)
    facts = wire.info(place.socket)
    pid = facts.get("process_id")
    return EmbeddedStatus(
        running=pid is not None,
        url=place.url,
        pid=int(pid) if pid else None,
        version=_version(facts),
        users=_has_users(place),
        stays=place.stay.exists() and pid is not None,
        home=place.root,
        data_bytes=sum(map(_size, place.data.rglob("*"))),
        log=place.log,
    )


def _await_end(place: Home) -> bool:
    """Tell the server to end until neither it nor its keeper is left; whether there was one."""
    was_running = False
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        with locks.owned(place.keeper_lock) as keeper, locks.owned(place.data_lock) as data:
            if keeper and data:
                return was_running
        was_running = True
        if keeper:
            shut_down(str(place.socket), 1.0)  # its keeper was killed
        else:
            _tell_keeper(place)
        time.sleep(_POLL_SECONDS)
    raise BrokerError(
        f"the embedded broker in {place.root} did not end within {STOP_SECONDS:g} s: "
        f"see {place.log}, and end its server process by hand"
    )


def _tell_keeper(place: Home) -> None:
    """Ask the keeper to stop; a keeper that has not yet written who it is, or has just ended, hears nothing."""
    with suppress(OSError, ValueError):
        os.kill(int(place.keeper_lock.read_bytes()), signal.SIGTERM)


def _has_users(place: Home) -> bool:
    if not place.users_lock.exists():
        return False
    with locks.open_lock(place.users_lock) as lock:
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
