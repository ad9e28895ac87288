"""Real brokers for the tests: which there are on this machine, and how to start one.

Each pytest process starts a server of each kind at most once, on a unix socket in a folder of its own, and every
test gets it empty. ``TASKSERVER_TEST_SERVERS`` (paths, separated by spaces) adds server binaries, and
``TASKSERVER_TEST_BROKERS`` (URLs) servers that are running already: their database is flushed before each test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import redis

from taskserver.embedded import find_binary
from taskserver.errors import TaskServerError


def kinds() -> dict[str, str]:
    """The kinds of broker at hand: name → path of a binary, or a URL."""
    found = {}
    with suppress(TaskServerError):
        found["valkey"] = str(find_binary())
    if path := shutil.which("redis-server"):
        found["redis"] = path
    for number, path in enumerate(os.environ.get("TASKSERVER_TEST_SERVERS", "").split(), 1):
        found[f"server{number}"] = path
    for url in os.environ.get("TASKSERVER_TEST_BROKERS", "").split():
        found[url.rpartition("@")[2]] = url
    return found


class Server:
    """A server process on a unix socket, with a folder of its own."""

    def __init__(self, binary: str, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="taskserver-test-"))
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}"
        self.binary = binary
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            [
                self.binary, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder),
                "--logfile", str(self.folder / "log"), "--daemonize", "no", *self.options,
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            deadline = time.monotonic() + 30
            while True:
                try:
                    client.ping()
                    return self
                except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
