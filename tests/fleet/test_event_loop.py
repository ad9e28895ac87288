"""A worker's process ends, and says why, whatever else its event loop is running then."""

import subprocess
import sys

import pytest

from tests.patience import PATIENCE

PROGRAM = """
import asyncio, sys, threading
from taskserver.errors import ConfigError
from taskserver.fleet.event_loop import run_loop

async def refuses_to_end():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            {again}

async def work():
    task = asyncio.create_task(refuses_to_end())
    in_thread = asyncio.to_thread(threading.Event().wait)
    blocked = asyncio.create_task(in_thread)
    await asyncio.sleep(0)
    {ends}

try:
    sys.exit(run_loop(work(), "{loop}"))
except ConfigError as error:
    print(error, flush=True)
    sys.exit(2)
"""
STOPS = "asyncio.get_running_loop().stop(); await asyncio.sleep(600)"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("ends", "again", "codes", "said"),
    [
        ("return 75", "pass", {75}, ""),
        (STOPS, "pass", {70}, ""),
        (STOPS, "asyncio.get_running_loop().stop()", {70}, ""),
        ("raise SystemExit(3)", "pass", {3}, ""),
        ("raise ConfigError('it is wrong')", "pass", {2, 70}, "it is wrong\n"),
    ],
)
def test_a_task_that_refuses_to_end_does_not_keep_the_process(
    loop: str, ends: str, again: str, codes: set[int], said: str
) -> None:
    program = PROGRAM.format(loop=loop, ends=ends, again=again)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENCE / 4
    )
    assert (done.returncode in codes, done.stdout) == (True, said), done
