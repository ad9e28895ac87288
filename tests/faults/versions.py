"""Two versions of taskserver beside each other: this one, and an earlier one from the repository's own history."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "faults" / "programs" / "versions.py"
EARLIER = "99d2692a29a3208aa55d9875b8a112229c547742"
"""The last commit before supervisors, configuration files, metrics and schemas: one process is one worker."""

SUPERVISED = "d2542693034e11de0f8922c229fb97780b3ea566"
"""The last commit before schemas, with supervisors."""


def unpack(folder: Path, commit: str = EARLIER) -> str:
    """Put an earlier version into ``folder``; a sentence why not, if it cannot be had."""
    if not shutil.which("git"):
        return "the earlier version is in the history, and there is no git: apt-get install git"
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=zip", commit, "taskserver"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        return f"the history that has the earlier version is not here ({done.stderr.decode(errors='replace').strip()})"
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder)
    record = folder / "taskserver-0.1.0.dist-info"  # earlier versions look for themselves under this name
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: taskserver\nVersion: 0.1.0\n", "utf-8")
    return ""


class Process:
    """A worker or client of one version.

    Args:
        root: The folder that holds its package ``taskserver``.
        *arguments: What the program is told.
    """

    def __init__(self, root: Path, *arguments: str) -> None:
        self._root = root
        self._arguments = arguments
        self._orders = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def start(self) -> Process:
        """Start it; returns once it is at work."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *self._arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**24,
            env={**os.environ, "PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        first = await self._stdout.readline()
        self._listening = asyncio.create_task(self._listen())
        assert Path(json.loads(first)).is_relative_to(self._root), "it must run its own version"
        return self

    async def submit(self, calls: list[tuple[str, dict[str, Any]]], **options: Any) -> list[str]:
        """Submit calls of tools; their ids."""
        return list(await self._order(do="submit", calls=calls, options=options))

    async def results(self, ids: list[str]) -> list[Any]:
        """The jobs' results, or names of errors."""
        return list(await self._order(do="results", ids=ids))

    async def cancel(self, job_id: str) -> str:
        """Cancel a job; its state."""
        return str(await self._order(do="cancel", id=job_id))

    def kill(self) -> None:
        """As a machine that is switched off."""
        self._process.kill()

    async def end(self, *, gently: bool = False) -> int:
        """End it; its exit code."""
        if self._process.returncode is None:
            self._process.terminate() if gently else self._process.kill()
        code = await self._process.wait()
        await self._listening
        self._stdin.close()
        return code

    async def _order(self, **order: Any) -> Any:
        number = next(self._orders)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._stdin.write(json.dumps({**order, "number": number}).encode() + b"\n")
        return await answer

    async def _listen(self) -> None:
        while line := await self._stdout.readline():
            reply = json.loads(line)
            self._answers.pop(reply["order"]).set_result(reply["value"])
        for answer in self._answers.values():
            answer.set_exception(EOFError("it has ended"))
