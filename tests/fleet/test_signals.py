"""Signals stay with the worker's event loop, whatever takes them; processes forked from a worker have their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.patience import PATIENCE

THEFTS = """
import asyncio, os, signal, sys
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet import signals
from taskserver.fleet.signals import handling

signals.LOOK_SECONDS = {seconds}
THEFTS = {
    "handler": lambda: signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)),
    "default action": lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    "ignored": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "handler of the loop": lambda: asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "theirs"),
    "removed from the loop": lambda: asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM),
    "wake-up descriptor": lambda: signal.set_wakeup_fd(-1),
}

async def after_an_attempt(handlers):
    handlers.look_soon()
    while handlers._soon:
        await asyncio.sleep(0.001)

async def meanwhile(handlers):
    timer = handlers._timer
    while handlers._timer is timer:
        await asyncio.sleep(0.001)

async def work():
    taken = asyncio.Event()
    others = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, others.append, "theirs")
    with handling({signal.SIGTERM: lambda _: taken.set()}) as handlers:
        for name, steal in THEFTS.items():
            steal()
            await {look}(handlers)
            os.kill(os.getpid(), signal.SIGTERM)
            await taken.wait()
            taken.clear()
            print(name, flush=True)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not others:
            await asyncio.sleep(0.001)
    return 0

sys.exit(run_loop(work(), "{loop}"))
"""
FORKS = """
import asyncio, os, signal, sys, threading, time
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet.signals import handling

def fork(number):
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        try:
            os.write(writing, b"I am here")
            time.sleep(600)
        except KeyboardInterrupt:
            os._exit(7)
    if number == signal.SIGINT:  # the others may arrive before the child has run at all
        os.read(reading, 9)
    os.kill(pid, number)
    # In a process that a thread has forked, CPython 3.13.0 runs handlers only where the signal interrupts a call.
    while number == signal.SIGINT and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.01)
        os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def work():
    ours = []
    with handling({number: ours.append for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}):
        for number in (signal.SIGTERM, signal.SIGHUP) * 20:
            assert await asyncio.to_thread(fork, number) == -number
        assert await asyncio.to_thread(fork, signal.SIGINT) == 7
        await asyncio.sleep(0.05)
        assert not ours, ours
        os.kill(os.getpid(), signal.SIGTERM)
        while not ours:
            await asyncio.sleep(0.001)
    return 0

sys.exit(run_loop(work(), "{loop}"))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize(("look", "seconds"), [("after_an_attempt", "3600"), ("meanwhile", "0.02")])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_signals_that_are_taken_over_come_back(loop: str, look: str, seconds: str) -> None:
    done = run(THEFTS.replace("{loop}", loop).replace("{look}", look).replace("{seconds}", seconds))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 6), done
    assert done.stderr.count("took over") == 1, done.stderr


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_forked_processes_have_the_usual_signals_and_the_worker_keeps_its_own(loop: str) -> None:
    done = run(FORKS.replace("{loop}", loop))
    assert done.returncode == 0, done.stderr


BLOCKED = """
import os, signal, time
from types import SimpleNamespace
from taskserver.fleet import runtime
from taskserver.fleet.event_loop import run_loop

runtime.LEAVE_SECONDS = 0.1

async def work():
    calls = dict.fromkeys(("drain", "hurry", "call_after_attempts"), print)
    with runtime._stopping_at_signals(SimpleNamespace(config=SimpleNamespace(grace_period=0.1), **calls)):
        os.kill(os.getpid(), signal.SIGTERM)
        while True:  # nothing else gets a turn
            time.sleep(600)

run_loop(work(), "{loop}")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_worker_whose_loop_is_blocked_ends_in_time_all_the_same(loop: str) -> None:
    assert run(BLOCKED.replace("{loop}", loop)).returncode == -signal.SIGALRM
