"""A signal that arrives after the work is done does not change the exit code, however late it is."""

import signal
import subprocess
import sys

import pytest

from tests.patience import PATIENCE

PROGRAM = """
import atexit, os, signal, sys, threading
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet.signals import handling, prepare_signals

def send(kill=os.kill, pid=os.getpid(), number=signal.{signal}):
    kill(pid, number)

async def work():
    with handling({{signal.{signal}: lambda _: None}}):
        pass
    {after_work}
    return 75

class Last:
    def __del__(self, send=send):
        {at_last}

prepare_signals()
{at_exit}
last = Last()
code = run_loop(work())
{after_loop}
sys.exit(code)
"""
NOWHERE = dict.fromkeys(("after_work", "after_loop", "at_exit", "at_last"), "pass")


def ended(number: signal.Signals, **where: str) -> int:
    program = PROGRAM.format(**NOWHERE | where, signal=number.name)
    return subprocess.run([sys.executable, "-c", program], check=False, timeout=PATIENCE).returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", ["after_work", "after_loop", "at_last"])
def test_the_exit_code_does_not_change(number: signal.Signals, where: str) -> None:
    assert ended(number, **{where: "send()"}) == 75


def test_the_process_does_not_wait_for_hanging_threads_and_hooks() -> None:
    endless = "threading.Thread(target=threading.Event().wait).start(); threading.Timer(0.1, send).start()"
    assert ended(signal.SIGTERM, after_loop=endless) == 75
    assert ended(signal.SIGTERM, at_exit="atexit.register(lambda: send() or threading.Event().wait())") == 75
