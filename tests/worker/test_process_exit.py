"""A worker that cannot continue ends, so that others take its jobs: it must not run without a service.

It ends its process, but not the program that contains it: that gets an error.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from taskserver import Client, State, tool
from taskserver.errors import BrokerUnavailable, WorkerBroken
from taskserver.testing import running_worker
from taskserver.tools import codec
from taskserver.worker.process_exit import ending
from taskserver.worker.service import LoopService
from tests.patience import PATIENCE


class Turn(LoopService):
    """A service whose turn fails."""

    name = "service of this test"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def turn(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), BrokerUnavailable("down"), ValueError("a bug")])
async def test_a_service_that_finds_no_memory_even_to_see_to_an_error(error: Exception) -> None:
    class Restless(Turn):
        async def rest(self, *_: object) -> None:
            raise MemoryError

    reasons: list[str] = []
    ending.set(reasons.append)
    failing = Restless(error)
    await failing.start()
    assert failing._task is not None
    await asyncio.wait((failing._task,))
    assert reasons == ["service of this test cannot continue (MemoryError)"]


async def test_an_attempt_that_finds_no_memory_to_be_settled(
    client: Client, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: Any, **__: Any) -> NoReturn:
        raise MemoryError

    @tool
    async def quick() -> None: ...

    monkeypatch.setattr(codec, "encode", encode)

    begun = asyncio.Event()

    @tool
    async def hold() -> None:
        begun.set()
        await asyncio.Event().wait()

    beside = await client.submit(hold)

    async def program() -> None:
        async with running_worker(quick, hold, url=broker_url):
            await begun.wait()
            await client.submit(quick)
            await asyncio.sleep(PATIENCE)

    with pytest.raises(WorkerBroken, match=r"job .*: out of memory"):
        await program()
    status = await beside.status()  # it may be what used up the memory: its attempt is spent, when its lease runs out
    assert (status.state, status.attempt) == (State.RUNNING, 1)


def test_the_process_ends_with_code_70_and_says_why() -> None:
    program = "from taskserver.worker.process_exit import quit_now; quit_now('it is broken')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (70, "it is broken: this worker ends itself\n")


EMBEDDED = """
import asyncio, atexit, sys, time
from taskserver import Client, tool
from taskserver.errors import WorkerBroken
from taskserver.testing import running_worker

@tool(max_retries=0, timeout=0.2)
async def block(path: str) -> None:
    open(path, "w").close()
    deadline = time.monotonic() + 600
    while open(path).read() != "go on" and time.monotonic() < deadline:
        time.sleep(0.01)

async def main(url: str, path: str) -> None:
    try:
        async with running_worker(block, url=url, lease=0.6), Client(url) as client:
            await (await client.submit(block, {"path": path})).result()
    except WorkerBroken as error:
        print("told:", error)
    finally:
        print("cleaned up")

atexit.register(print, "at exit")
asyncio.run(main(*sys.argv[1:]))
"""


def test_a_program_that_contains_a_worker_goes_on_when_that_is_blocked_past_its_jobs_timeout(
    one_broker_url: str, tmp_path: Path
) -> None:
    program, gate = tmp_path / "app.py", tmp_path / "gate"
    program.write_text(EMBEDDED)
    running = subprocess.Popen(
        [sys.executable, str(program), one_broker_url, str(gate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout
        assert running.stderr
        assert "blocked" in running.stderr.readline()  # the worker has given up
        gate.write_text("go on")
        out, err = running.communicate(timeout=PATIENCE)
    told, *rest = out.splitlines()
    assert "told: worker" in told
    assert "the event loop has been blocked" in told
    assert (running.returncode, rest) == (0, ["cleaned up", "at exit"]), err
