"""Makes sure that the embedded server of a home is running."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from taskserver.embedded import keeper, locks, wire
from taskserver.embedded.binary import find_binary
from taskserver.embedded.home import HOME_VARIABLE, Home
from taskserver.errors import BrokerUnavailable

START_SECONDS = 60.0
"""How long a server may take to start, which includes loading its data."""
_POLL_SECONDS = 0.01
_LOG_LIMIT = 1_000_000

# For example "8071:M 01 Jan 2030 10:00:00.000 # ", before the message.
_LOG_PREFIX = re.compile(r"^\d+:\w [^#*.\-]*[\d.]+ [#*.\-] ")


def ensure_running(home: Home) -> None:
    """Wait until the server of ``home`` answers; start it if no other process does.

    The caller must hold the users' lock, without which the server would soon be stopped again.

    Raises:
        BrokerUnavailable: if there is no server program, or it does not start or answer in time.
    """
    deadline = time.monotonic() + START_SECONDS
    launched = False
    while time.monotonic() < deadline:
        with locks.owned(home.keeper_lock) as lock:
            if lock and launched:
                raise _failure(home, "exited during startup")
            if lock:
                _launch(home, lock)
                launched = True
        if wire.is_ready(home.socket):
            return
        time.sleep(_POLL_SECONDS)
    raise _failure(home, f"did not answer within {START_SECONDS:g} s")


def _launch(home: Home, lock: BinaryIO) -> None:
    """Start a keeper, which takes over ``lock`` as its standard input and writes its process id to it."""
    lock.truncate(0)
    home.stay.unlink(missing_ok=True)  # it was meant for an earlier keeper
    if home.log.exists() and home.log.stat().st_size > _LOG_LIMIT:
        home.log.replace(home.log.with_suffix(".log.1"))
    paths = (home.socket, home.keeper_lock, home.users_lock, home.data_lock, home.stay)
    command = [sys.executable, "-I", "-S", keeper.__file__, *map(str, paths), *_server_command(home)]
    with home.open_log() as log:
        subprocess.run(command, stdin=lock, stdout=log, stderr=log, cwd=home.root, check=False)  # noqa: S603


def _server_command(home: Home) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(home.socket),
        "unixsocketperm": "700",
        "dir": str(home.data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    pairs = ((f"--{name}", value) for name, value in options.items())
    return [str(find_binary()), *(argument for pair in pairs for argument in pair)]


def _failure(home: Home, what: str) -> BrokerUnavailable:
    reason = _last_line(home.log)
    advice = f"see {home.log}"
    if "permission denied" in reason.lower():
        advice = f"make everything in {home.data} writable for this user, or set {HOME_VARIABLE} to another folder"
    elif re.search(r"append.only|aof|rdb", reason, re.IGNORECASE):
        advice = f"repair the files in {home.data} with valkey-check-aof, or move the folder away, and try again"
    return BrokerUnavailable(f"the embedded broker in {home.root} {what} ({reason}): {advice}")


def _last_line(log: Path) -> str:
    """The last log line of server or keeper, without the time stamp."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        return "no log"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "the log is empty")
    return _LOG_PREFIX.sub("", last)
