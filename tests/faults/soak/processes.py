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
from typing import NamedTuple

from tests.faults.soak.ledger import Ledger

ROOT = Path(__file__).resolve().parents[3]
REPLACED_SECONDS = 0.2
READY = b" is ready: "
"""What a worker logs once it takes jobs."""
GRACE_SECONDS = 0.3
"""Shorter than some jobs take, so that stopping workers have something to hand back."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Between fork and exec: whatever becomes of the driver, its processes do not outlive it (Linux' prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Slot(NamedTuple):
    """What runs in a slot.

    Attributes:
        command: Its command line; ``{turn}`` in it becomes the number of the process in that slot.
        env: What its environment has that those of others have not.
        lease: The lease of a worker, in seconds; 0 if it is none.
    """

    command: list[str]
    env: dict[str, str]
    lease: float = 0.0


class ProcessSlots:
    """Processes of one sort, each replaced when it ends.

    Args:
        name: What they are called in the ledger and in the names of their logs.
        slots: What runs in each slot.
        env: What their environments have in common.
        ledger: Where it is written down which workers are ready, and who has died.
        logs: Folder of their logs.
    """

    def __init__(self, name: str, slots: list[Slot], env: dict[str, str], ledger: Ledger, logs: Path) -> None:
        self.name = name
        self.started = 0
        self._slots = slots
        self._env = {**os.environ, **env}
        self._ledger = ledger
        self._logs = logs
        self._turns = [itertools.count() for _ in slots]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(slots)
        self._log_begins = [0] * len(slots)
        self._ready: set[int] = set()
        self._replacing = True

    def __len__(self) -> int:
        return len(self._slots)

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
                elif (
                    process.pid not in self._ready
                    and READY in self._log_of(number).read_bytes()[self._log_begins[number] :]
                ):
                    self._ready.add(process.pid)
                    self._ledger.write("ready", name=self.name, pid=process.pid, lease=self._slots[number].lease)
            await asyncio.sleep(REPLACED_SECONDS)

    async def any_ready(self) -> None:
        """Wait until one of them is: on a busy machine, workers would be killed before any has begun."""
        while not any(process and process.poll() is None and process.pid in self._ready for process in self._processes):
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
        slot = self._slots[number]
        command = [word.replace("{turn}", str(turn)) for word in slot.command]
        with self._log_of(number).open("ab") as log:
            self._log_begins[number] = log.tell()
            return subprocess.Popen(
                command, cwd=ROOT, env={**self._env, **slot.env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    def _log_of(self, number: int) -> Path:
        return self._logs / f"{self.name}-{number}.log"

    def _note(self, process: subprocess.Popen[bytes]) -> None:
        self._ledger.write("died", name=self.name, pid=process.pid, code=process.returncode)


def workers(
    leases: list[float], slots: int, ways: list[str], env: dict[str, str], ledger: Ledger, logs: Path
) -> ProcessSlots:
    """Real ``taskserver worker`` processes, each with its own lease and its own way to the broker, a URL."""
    command = [
        sys.executable, "-m", "taskserver", "worker", "--tools", "tests.faults.soak.tools", "--concurrency", str(slots),
        "--grace-period", str(GRACE_SECONDS),
    ]  # fmt: skip
    kept = [[], ["--keep-messages"]]
    return ProcessSlots(
        "worker",
        [
            Slot([*command, "--lease", str(lease), *kept[number % 2]], {"TASKSERVER_BROKER_URL": way}, lease)
            for number, (lease, way) in enumerate(zip(leases, ways, strict=True))
        ],
        env, ledger, logs,
    )  # fmt: skip


def producers(rate: float, seed: int, ways: list[str], env: dict[str, str], ledger: Ledger, logs: Path) -> ProcessSlots:
    """Producers that submit ``rate`` jobs a second together, each by its own way; its seed names its slot and turn."""
    program = [sys.executable, "-m", "tests.faults.soak.producer"]
    return ProcessSlots(
        "producer",
        [
            Slot(
                [*program, f"p{number}.{{turn}}.{number}", f"{seed}/{number}/{{turn}}", str(rate / len(ways))],
                {"TASKSERVER_BROKER_URL": way},
            )
            for number, way in enumerate(ways)
        ],
        env, ledger, logs,
    )  # fmt: skip
