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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from taskserver.embedded import find_binary
from taskserver.errors import TaskServerError
from tests.patience import PATIENCE


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
    """A server process on a unix socket, with a folder of its own.

    Args:
        binary: Its program.
        *options: Behind ours on its command line; of an option that is there twice, the last counts.
        password: Asked of everybody.
        before_exec: Called in the new process, between fork and exec.

    Attributes:
        url: Its URL, with the password.
        options: May be changed between ``kill`` and ``start``.
    """

    def __init__(
        self, binary: str, *options: str, password: str = "", before_exec: Callable[[], None] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="taskserver-test-"))
        self.socket = self.folder / "s"
        self.url = f"unix://:{password}@{self.socket}" if password else f"unix://{self.socket}"
        self.binary = binary
        self.options: tuple[str, ...] = (*options, *(("--requirepass", password) if password else ()))
        self.process: subprocess.Popen[bytes] | None = None
        self._before_exec = before_exec

    def start(self) -> Server:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Start it, without waiting."""
        self.process = subprocess.Popen(
            [
                self.binary, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder),
                "--logfile", str(self.folder / "log"), "--daemonize", "no", *self.options,
            ],
            stdin=subprocess.DEVNULL,
            preexec_fn=self._before_exec,
        )  # fmt: skip

    def wait_until_ready(self, seconds: float = PATIENCE) -> None:
        """Wait until it answers.

        Raises:
            redis.ConnectionError: if it ended instead, or took too long.
        """
        deadline = time.monotonic() + seconds
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    if not self.running or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once; what it had written, even without a sync to disk, is there when it starts again."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
