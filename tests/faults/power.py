"""A power cut: what a server had written but not synced is gone.

The server runs under strace, which notes each write to the append-only file and each fdatasync of it. After the cut
the file is shortened to what had been synced by then, as a disk without mercy would do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import redis

from tests.brokers import Server

_WRITE = re.compile(r"write\(\d+<[^>]*\.incr\.aof>.*\) = (\d+)$")
_SYNC = re.compile(r"^(\d+) +(?:fdatasync|fsync)\(\d+<[^>]*\.incr\.aof>(?:\) = 0| <unfinished)")
_SYNCED = re.compile(r"^(\d+) +<\.\.\. (?:fdatasync|fsync) resumed>\) = 0")


def cannot_cut() -> str:
    """Why no power cut can be played here; empty if it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "takes strace"
    tried = subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace here"


class OnOneMachine(Server):
    """A server with an append-only file, on a machine whose power can be cut."""

    def __init__(self, binary: str, *options: str) -> None:
        super().__init__(binary, "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", *options)
        self._notes = self.folder / "strace"
        self._server = binary
        traced = self.folder / "traced"
        traced.write_text(
            f'#!/bin/sh\nexec strace -f -y -qq -s 0 -e trace=write,fdatasync,fsync -o {self._notes} {binary} "$@"\n'
        )
        traced.chmod(0o700)
        self.binary = str(traced)

    def cut_power(self) -> None:
        """End it now, and lose what was not synced."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGKILL)
        assert self.process
        self.process.wait()
        file = next(Path(self.folder).glob("appendonlydir/*.incr.aof"))
        with file.open("r+b") as aof:
            aof.truncate(self._synced())
        self.binary = self._server

    def _synced(self) -> int:
        written = synced = 0
        under_way: dict[str, int] = {}
        for line in self._notes.read_text("utf-8", "replace").splitlines():
            if write := _WRITE.search(line):
                written += int(write[1])
            elif sync := _SYNC.match(line):
                under_way[sync[1]] = written
                if line.endswith("= 0"):
                    synced = written
            elif done := _SYNCED.match(line):
                synced = max(synced, under_way.get(done[1], 0))
        return synced
