"""A power cut: what a server had written but not synced is gone.

The server runs under strace, which notes each write to the append-only file and each fdatasync of it. After the cut
the file is shortened to what had been synced by then, as a disk without mercy would do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psutil

from tests.brokers import Server

_BEGUN = re.compile(r"^(\d+) +(write|fdatasync|fsync)\(\d+<[^>]*\.incr\.aof>(?:.*\) += (\d+)$)?")
_DONE = re.compile(r"^(\d+) +<\.\.\. (?:write|fdatasync|fsync) resumed>.*\) += (\d+)$")


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

    def kill(self) -> None:
        """End it at once: the server, which would outlive its tracer, and then that."""
        if self.process and self.running:
            for traced in psutil.Process(self.process.pid).children(recursive=True):
                traced.kill()
        super().kill()

    def cut_power(self) -> None:
        """End it now, and lose what was not synced."""
        self.kill()
        file = next(Path(self.folder).glob("appendonlydir/*.incr.aof"))
        with file.open("r+b") as aof:
            aof.truncate(self.synced())
        self.binary = self._server

    def written(self) -> int:
        """How long the file is."""
        return next(self.folder.glob("appendonlydir/*.incr.aof")).stat().st_size

    def synced(self) -> int:
        """How much of the file was on the disk; what a sync covers had been written when it began."""
        written = synced = 0
        under_way: dict[str, tuple[str, int]] = {}
        for line in self._notes.read_text("utf-8", "replace").splitlines():
            if begun := _BEGUN.match(line):
                thread, call, answer = begun.groups()
                under_way[thread] = call, written
            elif (done := _DONE.match(line)) and done[1] in under_way:
                thread, answer = done.groups()
            else:
                continue
            if answer is not None:
                call, before = under_way.pop(thread)
                if call == "write":
                    written += int(answer)
                else:
                    synced = max(synced, before)
        return synced
