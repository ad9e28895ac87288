"""A worker that cannot continue ends its process, so that others take its jobs: it must not run without a service."""

import asyncio
import subprocess
import sys
from typing import Any, NoReturn

import pytest

from taskserver import Client, tool
from taskserver.errors import BrokerUnavailable
from taskserver.tools import codec
from taskserver.worker import executor, heartbeat, service
from taskserver.worker.service import LoopService
from tests.worker.conftest import Hire


@pytest.fixture(autouse=True)
def reasons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why it would have ended."""
    given: list[str] = []

    def quit_now(why: str) -> NoReturn:
        given.append(why)
        raise asyncio.CancelledError

    for module in (service, heartbeat, executor):
        monkeypatch.setattr(module, "quit_now", quit_now)
    return given


class Turn(LoopService):
    """A service whose turn fails."""

    name = "service of this test"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def turn(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), BrokerUnavailable("down"), ValueError("a bug")])
async def test_a_service_that_finds_no_memory_even_to_see_to_an_error(reasons: list[str], error: Exception) -> None:
    class Restless(Turn):
        async def rest(self, *_: object) -> None:
            raise MemoryError

    failing = Restless(error)
    await failing.start()
    assert failing._task is not None
    await asyncio.wait((failing._task,))
    assert reasons == ["service of this test cannot continue (MemoryError)"]


async def test_an_attempt_that_finds_no_memory_to_be_settled(
    client: Client, hire: Hire, reasons: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: Any, **__: Any) -> NoReturn:
        raise MemoryError

    @tool
    async def quick() -> None: ...

    monkeypatch.setattr(codec, "encode", encode)
    hired = await hire(quick)
    job = await client.submit(quick)
    await hired.worker.ready.wait()
    while not reasons:
        await asyncio.sleep(0.001)
    assert reasons == [f"job {job.id}: out of memory"]


def test_the_process_ends_with_code_70_and_says_why() -> None:
    program = "from taskserver.worker.process_exit import quit_now; quit_now('it is broken')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (70, "it is broken: this worker ends itself\n")
