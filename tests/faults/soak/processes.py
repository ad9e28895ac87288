"""The worker and producer processes of a soak: each has a numbered slot, and one that dies is replaced."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.faults.soak.ledger import Ledger

ROOT = Path(__file__).resolve().parents[3]
REPLACED_SECONDS = 0.2
GRACE_SECONDS = 0.3
"""Shorter than some jobs take, so that stopping workers have something to hand back."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Between fork and exec: whatever becomes of the driver, its processes do not outlive it (Linux' prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ProcessSlots:
    """Processes of one sort, each replaced when it ends.

    Args:
        name: What they are called in the ledger and in the names of their logs.
        commands: Command line of each slot; ``{turn}`` in it becomes the number of the process in that slot.
        env: Their environment.
        ledger: Where deaths are written down.
        logs: Folder of their logs.
    """

    def __init__(self, name: str, commands: list[list[str]], env: dict[str, str], ledger: Ledger, logs: Path) -> None:
        self.name = name
        self.started = 0
        self._commands = commands
        self._env = {**os.environ, **env}
        self._ledger = ledger
        self._logs = logs
        self._turns = [itertools.count() for _ in commands]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(commands)
        self._replacing = True

    def __len__(self) -> int:
        return len(self._commands)

    async def keep(self) -> None:
        """Start them, and start another wherever one has ended; until cancelled."""
        while True:
            for number, process in enumerate(self._processes):
                if process is None or process.poll() is not None:
                    if process is not None:
                        self._note(process)
                    if self._replacing or process is None:
                        self._processes[number] = self._start(number)
                    elif process is not None:
                        self._processes[number] = None
            await asyncio.sleep(REPLACED_SECONDS)

    def signal(self, number: int, signum: int) -> int | None:
        """Send a signal to the process in a slot; its pid, or None if there is none now."""
        process = self._processes[number]
        if process is None or process.poll() is not None:
            return None
        process.send_signal(signum)
        return process.pid

    def thaw(self) -> None:
        """Continue those that were stopped."""
        for number in range(len(self)):
            self.signal(number, signal.SIGCONT)

    async def finish(self, seconds: float) -> list[int]:
        """Tell all to end, replace none, and wait; the pids of those that did not end in time."""
        self._replacing = False
        for number in range(len(self)):
            self.signal(number, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(process and process.poll() is None for process in self._processes):
                    await asyncio.sleep(REPLACED_SECONDS)
        return [process.pid for process in self._processes if process and process.poll() is None]

    def close(self) -> None:
        """Kill what is left."""
        for process in self._processes:
            if process and process.poll() is None:
                process.kill()
            if process:
                process.wait()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        self.started += 1
        turn = next(self._turns[number])
        command = [word.replace("{turn}", str(turn)) for word in self._commands[number]]
        with (self._logs / f"{self.name}-{number}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    def _note(self, process: subprocess.Popen[bytes]) -> None:
        self._ledger.write("died", name=self.name, pid=process.pid, code=process.returncode)


def workers(count: int, slots: int, lease: float, env: dict[str, str], ledger: Ledger, logs: Path) -> ProcessSlots:
    """Real ``taskserver worker`` processes."""
    command = [
        sys.executable, "-m", "taskserver", "worker", "--tools", "tests.faults.soak.tools", "--concurrency", str(slots),
        "--lease", str(lease), "--grace-period", str(GRACE_SECONDS),
    ]  # fmt: skip
    commands = [[*command, "--keep-messages"] if number % 2 else command for number in range(count)]
    return ProcessSlots("worker", commands, env, ledger, logs)


def producers(count: int, rate: float, seed: int, env: dict[str, str], ledger: Ledger, logs: Path) -> ProcessSlots:
    """Producers that submit ``rate`` jobs a second together; the seed of each names its slot and turn."""
    commands = [
        [
            sys.executable, "-m", "tests.faults.soak.producer", f"p{number}.{{turn}}.{number}",
            f"{seed}/{number}/{{turn}}", str(rate / count),
        ]
        for number in range(count)
    ]  # fmt: skip
    return ProcessSlots("producer", commands, env, ledger, logs)
