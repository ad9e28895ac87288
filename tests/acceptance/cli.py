"""Running the command line as a user does: processes, pipes, signals and a terminal."""

from __future__ import annotations

import json
import os
import pty
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.forking import Forked
from tests.patience import PATIENCE

COMMAND = (sys.executable, "-m", "taskserver")
REPOSITORY = str(Path(__file__).resolve().parents[2])

TOOLS = '''
import asyncio
import os
from pathlib import Path

from taskserver import Context, tool


@tool
async def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@tool
async def echo(text: str) -> str:
    """Return the text."""
    return text


@tool(max_retries=0)
async def fail(message: str = "boom") -> None:
    """Fail."""
    raise ValueError(message)


@tool
async def steps(ctx: Context) -> dict[str, int]:
    """Tell of its progress."""
    ctx.progress(0.25, "begun")
    ctx.emit("some ")
    ctx.emit("words")
    ctx.progress(0.75, "nearly done")
    return {"steps": 2}


@tool
async def count(limit: int, ctx: Context) -> None:
    """Count aloud."""
    for number in range(limit):
        await ctx.emit(f"{number} ")


@tool(timeout=None)
async def hold(gate: str, ctx: Context) -> str:
    """Go on until the file is there."""
    ctx.logger.info("holding")
    ctx.progress(0.5, "holding")
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    return f"attempt {ctx.attempt} in {os.getpid()}"
'''


class Done(NamedTuple):
    """What a command has left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Running:
    """A command that runs; its lines are read as they come."""

    def __init__(self, args: tuple[str, ...], folder: Path, env: dict[str, str], *, new_session: bool) -> None:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with open(os.devnull) as nothing, open(out_end, "wb") as out_file, open(err_end, "wb") as err_file:
            streams = (nothing.fileno(), out_file.fileno(), err_file.fileno())
            self.process = Forked(args, folder, env, streams, new_session=new_session)
        self.pid = self.process.pid
        self.lines: dict[str, list[str]] = {"out": [], "err": []}
        self._new: queue.Queue[None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(name, os.fdopen(stream)), daemon=True)
            for name, stream in (("out", out), ("err", err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            for line in stream:
                self.lines[name].append(line)
                self._new.put(None)
        self._new.put(None)

    def wait_for(self, text: str, where: str = "err", times: int = 1) -> str:
        """Wait until so many lines contain ``text``, and return the last of them."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = [line for line in list(self.lines[where]) if text in line]
            if len(found) >= times:
                return found[times - 1]
            over = self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers)
            assert not over, f"ended without {text!r}: {self.lines}"
            with suppress(queue.Empty):
                self._new.get(timeout=0.5)
            assert time.monotonic() < deadline, f"waited in vain for {text!r}: {self.lines}"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def end(self) -> Done:
        """Wait until it has ended, and nothing that it started is left."""
        done = self.done()
        assert not _group_lives(self.pid), "it left processes behind"
        return done

    def done(self) -> Done:
        """Wait until it has ended, and its streams are closed."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
            assert not reader.is_alive(), "somebody holds its streams open"
        return Done(code, "".join(self.lines["out"]), "".join(self.lines["err"]))


class Cli:
    """The command line in one folder, with an environment of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TASKSERVER_")}
        path = os.pathsep.join(filter(None, (REPOSITORY, os.environ.get("PYTHONPATH"))))
        self.env = {**inherited, "PYTHONPATH": path, "TASKSERVER_HOME": str(folder / "home"), **environment}
        self._started: list[Running] = []
        (folder / "agent_tools.py").write_text(TOOLS)

    def run(self, *args: str, **env: str) -> Done:
        """Run a command to its end, without a terminal."""
        command = Running(args, self.folder, self.env | env, new_session=False)
        try:
            return command.done()
        finally:
            command.process.kill()

    def run_fresh(self, *args: str, **env: str) -> Done:
        """The same, by an interpreter of its own."""
        return self.run_program(*COMMAND, *args, **env)

    def run_program(self, *program: str, **env: str) -> Done:
        """Run any program in the same folder and environment."""
        done = subprocess.run(
            program,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str, **env: str) -> Done:
        """Run a command that must succeed."""
        done = self.run(*args, **env)
        assert done.code == 0, done
        return done

    def start(self, *args: str, **env: str) -> Running:
        """Start a command, and read along."""
        unbuffered = {"PYTHONUNBUFFERED": "1"}
        self._started.append(Running(args, self.folder, self.env | unbuffered | env, new_session=True))
        return self._started[-1]

    def worker(self, *args: str, **env: str) -> Running:
        """Start a worker, and wait until it is ready."""
        worker = self.start("worker", "--tools", "agent_tools", *args, **env)
        worker.wait_for("is ready")
        return worker

    def submit(self, *args: str) -> str:
        """Submit a job, and return its id."""
        return self.ok("submit", *args).out.strip()

    def state(self, job_id: str) -> dict[str, Any]:
        """What is known of a job."""
        found: dict[str, Any] = self.ok("job", "status", job_id, "--json").json
        return found

    def holding(self, *args: str) -> str:
        """Submit a job that runs until ``open_gate``, and return its id once it runs."""
        job_id = self.submit("hold", f"gate={self.gate}", *args)
        follower = self.start("job", "events", job_id)
        follower.wait_for("holding", "out")
        follower.signal(signal.SIGINT)
        assert follower.end().code == 130
        return job_id

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def open_gate(self) -> None:
        """Let jobs that hold end."""
        self.gate.touch()

    def at_terminal(self, *args: str, answer: str = "", **env: str) -> tuple[int, str]:
        """Run a command at a terminal, type ``answer``, and return the exit code and what was to be seen."""
        ours, theirs = pty.openpty()
        terminal = {"TERM": "xterm", "COLUMNS": "100"}
        process = Forked(args, self.folder, self.env | terminal | env, (theirs, theirs, theirs), new_session=True)
        os.close(theirs)
        os.write(ours, answer.encode())
        seen = b""
        with suppress(OSError):  # how Linux tells that the other side is closed
            while piece := os.read(ours, 65536):
                seen += piece
        os.close(ours)
        return process.wait(PATIENCE), seen.decode()

    def forget(self, command: Running) -> None:
        """It has ended as it should; ``close`` need not look at it."""
        self._started.remove(command)

    def close(self) -> None:
        """End what the test has left running, and require workers to end well."""
        for each in self._started:
            if each.process.poll() is None:
                each.signal(signal.SIGTERM)
        try:
            ended = [(each, each.end()) for each in self._started]
        finally:
            self._kill_the_rest()
        for each, done in ended:
            is_worker = "worker" in each.process.args
            assert not is_worker or done.code in (0, -signal.SIGKILL), done

    def _kill_the_rest(self) -> None:
        """After a failure, nothing may stay behind."""
        for each in self._started:
            if each.process.poll() is None:
                each.process.kill()
                each.process.wait()


def without_colours(text: str) -> str:
    """The text without the escape sequences of colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
