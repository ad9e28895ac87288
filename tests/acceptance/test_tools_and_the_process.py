"""Tools do to the worker's process what libraries do: they configure logging, take signals, fork, read, stop loops."""

from __future__ import annotations

import itertools
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from tests.acceptance.cli import COMMAND, Cli
from tests.acceptance.fleet import call, holding, result, state
from tests.patience import PATIENCE

LOGGING = """
import logging, logging.config, sys
from taskserver import Context, tool

HOW = {
    "dictConfig": lambda: logging.config.dictConfig({"version": 1}),
    "a handler": lambda: logging.config.dictConfig({
        "version": 1,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"level": "ERROR", "handlers": ["console"]},
    }),
    "force": lambda: logging.basicConfig(force=True, format="taken over: %(message)s"),
    "root": lambda: logging.getLogger().handlers.clear(),
    "disable": lambda: logging.disable(logging.CRITICAL),
}

@tool(max_retries=0)
async def configure(how: str, ctx: Context) -> None:
    HOW[how]()
    ctx.logger.info("said by %s", how)
    raise ValueError("no")

@tool(max_retries=0, runs_in="process")
def configure_process(how: str, ctx: Context) -> None:
    HOW[how]()
    ctx.logger.info("said in a process by %s", how)

HOW["a handler"]()
"""


def test_modules_that_configure_logging_do_not_silence_the_worker(cli: Cli) -> None:
    (cli.folder / "agent_tools.py").write_text(LOGGING)
    worker = cli.worker("--log-format", "json")
    ways = ("dictConfig", "a handler", "force", "root", "disable")
    for how in ways:
        assert cli.run("submit", "configure", f"how={how}", "--wait").code == 1
        cli.ok("submit", "configure_process", f"how={how}", "--wait")
    worker.signal(signal.SIGTERM)
    lines = worker.end().err.splitlines()
    messages = [json.loads(line)["message"] for line in lines]  # all of them are JSON
    for message in ("is ready", "is stopping", "has stopped"):
        assert sum(message in each for each in messages) == 1, messages
    assert sum("is dead after 1 attempt" in each for each in messages) == len(ways), messages
    for how in ways:
        assert messages.count(f"said by {how}") == messages.count(f"said in a process by {how}") == 1, messages


SIGNALS = """
import asyncio, multiprocessing, signal, sys, time

@tool
async def take() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

@tool
async def stop_loop() -> None:
    asyncio.get_running_loop().stop()

@tool
async def exit_loop() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)

@tool
def leave_child() -> None:
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()

@tool
def use_pool() -> int:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, range(10)))
"""


@pytest.fixture
def signals_cli(cli: Cli) -> Cli:
    """The command line with the tools of ``SIGNALS`` besides the usual ones."""
    with (cli.folder / "agent_tools.py").open("a") as file:
        file.write(SIGNALS)
    return cli


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_worker_whose_sigterm_was_taken_drains_all_the_same(signals_cli: Cli, loop: str) -> None:
    worker = signals_cli.worker("--loop", loop)
    job_id = holding(signals_cli)
    call(signals_cli, "take")
    worker.wait_for("took over SIGTERM")
    worker.signal(signal.SIGTERM)
    worker.wait_for("is stopping; running jobs: 1")
    signals_cli.open_gate()
    assert worker.end().code == 0
    assert "attempt 1" in str(result(signals_cli, job_id))


@pytest.mark.parametrize(("tool", "code"), [("stop_loop", 70), ("exit_loop", 3)])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_when_the_loop_is_ended_running_jobs_are_handed_back_unspent(
    signals_cli: Cli, loop: str, tool: str, code: int
) -> None:
    worker = signals_cli.worker("--loop", loop)
    job_id = holding(signals_cli)
    signals_cli.submit(tool)
    done = worker.end()
    signals_cli.forget(worker)
    assert (done.code, "Traceback" in done.err) == (code, False), done.err
    assert state(signals_cli, job_id) == ("queued", 0)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_processes_that_tools_fork_end_and_do_not_hold_the_worker(signals_cli: Cli, loop: str) -> None:
    worker = signals_cli.worker("--loop", loop)
    for _ in range(5):
        assert call(signals_cli, "use_pool") == 45
    call(signals_cli, "leave_child")
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0  # and none of its process group is left
    assert "took over" not in worker.lines["err"]


READING = """
import getpass, subprocess

@tool(max_retries=0)
def ask() -> str:
    return input("sure? ")

@tool(max_retries=0)
def password() -> str:
    return getpass.getpass()

@tool(max_retries=0, runs_in="process")
def process() -> str:
    return open("/dev/tty").readline()

@tool(max_retries=0)
def cat() -> str:
    return subprocess.run(["cat"], capture_output=True, text=True).stdout
"""
AT_TERMINAL = """
import fcntl, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # as a shell: it leads the session of this terminal
signal.signal(signal.SIGINT, lambda *_: None)
sys.exit(subprocess.call(sys.argv[1:]))
"""


@pytest.mark.parametrize("replicas", ["1", "2"])
def test_tools_do_not_read_what_is_typed_at_the_workers_terminal(cli: Cli, replicas: str) -> None:
    with (cli.folder / "agent_tools.py").open("a") as file:
        file.write(READING)
    ours, theirs = pty.openpty()
    command = (sys.executable, "-c", AT_TERMINAL, *COMMAND, "worker", "--tools", "agent_tools", "--replicas", replicas)
    shell = subprocess.Popen(
        command, cwd=cli.folder, env=cli.env, stdin=theirs, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    os.close(theirs)
    with shell, os.fdopen(ours, "wb", 0) as terminal:
        try:
            assert shell.stderr
            next(line for line in shell.stderr if "is ready" in line and ("supervisor" in line or replicas == "1"))
            terminal.write(b"typed by an operator\n")
            assert call(cli, "cat") == ""
            for tool, error in (("ask", "EOFError"), ("password", "EOFError"), ("process", "OSError")):
                done = cli.run("submit", tool, "--wait")
                assert (done.code, error in done.err) == (1, True), done
            terminal.write(b"\x03")
            assert shell.wait(PATIENCE) == 0
        finally:
            shell.kill()


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="process id 1 takes root and unshare(1)"
)
@pytest.mark.parametrize("prefix", ["", "exec "])
def test_a_worker_below_a_shell_that_is_process_1_says_that_sigterm_does_not_arrive(cli: Cli, prefix: str) -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode:
        pytest.skip("no /proc of its own can be mounted here")
    (cli.folder / "start.sh").write_text(f"{prefix}{shlex.join(COMMAND)} worker --tools agent_tools\n")
    as_process_1 = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "start.sh")
    with subprocess.Popen(as_process_1, cwd=cli.folder, env=cli.env, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        lines = iter(running.stderr.readline, "")
        before = list(itertools.takewhile(lambda line: "is ready" not in line, lines))
        running.kill()
    assert ["start taskserver with exec" in line for line in before] == ([] if prefix else [True])
