"""The broker of a soak: a real server, a small disk of its own where root may mount one, and power cuts.

SIGKILL does not lose what a process has written: the kernel still has it. What ``appendfsync everysec`` may lose shows
only when the machine goes down. So a *power cut* here kills the server and cuts its append-only file back to where it
was a second before: just what that setting promises to keep.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio

from tests.brokers import Server
from tests.faults.soak.processes import die_with_parent

SAMPLE_SECONDS = 0.05
UNSYNCED_SECONDS = 1.0
"""What ``appendfsync everysec`` may lose."""


class Disk:
    """A folder for the server's data: on a small file system of its own, if this user may mount one.

    It is unmounted as soon as it is open, so that nothing stays behind, whatever becomes of this process.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.path = str(folder)
        self.small = False
        self._open: int | None = None
        mounted = tempfile.mkdtemp(dir=folder)
        if os.geteuid() == 0 and _silent("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", mounted):
            self._open = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY)
            os.set_inheritable(self._open, False)
            _silent("umount", "--lazy", mounted)
            self.path = f"/proc/{os.getpid()}/fd/{self._open}"
            self.small = True
        os.rmdir(mounted)

    def fill(self) -> None:
        """Leave no room."""
        with open(f"{self.path}/ballast", "wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1024 * 1024)):
                pass

    def free(self) -> None:
        """Give the room back; harmless when repeated."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path}/ballast")

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open)
            self._open = None


class Sample(NamedTuple):
    """How long the append-only file was at a moment."""

    at: float
    file: str
    size: int


class SoakServer:
    """A server with a password that can be killed, frozen, filled up and cut off from power."""

    def __init__(self, binary: str, password: str, disk_megabytes: int) -> None:
        self._server = Server(binary, password=password, before_exec=die_with_parent)
        self.folder = self._server.folder
        self.url = self._server.url
        self.disk = Disk(self.folder, disk_megabytes)
        self.fsync = "always"
        self.restarts = -1
        self.wanted = True
        self._fixed = self._server.options
        self._samples: deque[Sample] = deque(maxlen=round(10 / SAMPLE_SECONDS))

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """A client for what an operator would do."""
        async with redis.asyncio.Redis.from_url(self.url, socket_timeout=5) as client:
            yield client

    async def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        self.restarts += 1
        self._server.options = (
            *self._fixed, "--dir", self.disk.path, "--appendonly", "yes", "--appendfsync", self.fsync,
            "--busy-reply-threshold", "200", *options,
        )  # fmt: skip
        self._server.launch()
        await asyncio.to_thread(self._server.wait_until_ready, 60.0)

    async def keep(self) -> None:
        """Sample the append-only file, and start the server where it has ended by itself; until cancelled."""
        while True:
            if self.wanted and not self._server.running:
                with suppress(redis.RedisError):
                    await self.start()
            if file := self._current_file():
                self._samples.append(Sample(time.time(), file, os.path.getsize(file)))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def set_fsync(self, fsync: str) -> None:
        """Change how it syncs, now and after each restart."""
        self.fsync = fsync
        async with self.admin() as admin:
            await admin.config_set("appendfsync", fsync)

    def kill(self) -> None:
        """Kill it; nobody starts it again until ``start`` or ``wanted``."""
        self.wanted = False
        self._server.kill()

    def cut_power(self) -> float | None:
        """Kill it and lose what had not been synced; the moment up to which everything is kept, None if all is."""
        self.kill()
        now, file = time.time(), self._current_file()
        old = [sample for sample in self._samples if sample.at < now - UNSYNCED_SECONDS]
        if self.fsync == "always" or not old or old[-1].file != file:  # the file was rewritten meanwhile
            return None
        os.truncate(old[-1].file, old[-1].size)
        return old[-1].at

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._server.signal(number)

    def load_delay(self, seconds: float) -> int:
        """Microseconds a key (``key-load-delay``) for which loading takes about so long."""
        size = sum(path.stat().st_size for path in Path(self.disk.path, "appendonlydir").iterdir())
        return max(1, round(seconds * 1e6 / max(1.0, size / 100)))

    def close(self) -> None:
        """End it, and leave nothing behind."""
        self._server.close()
        self.disk.close()

    def _current_file(self) -> str | None:
        """The file that is appended to: the one with the highest number."""
        numbered = {}
        with suppress(FileNotFoundError):
            for name in os.listdir(f"{self.disk.path}/appendonlydir"):
                if found := re.search(r"\.(\d+)\.incr\.aof$", name):
                    numbered[int(found[1])] = name
        return f"{self.disk.path}/appendonlydir/{numbered[max(numbered)]}" if numbered else None


def _silent(*command: str) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
