"""CPU-bound tools and recycling as a user meets them: a file with tools, a worker process, signals, exit codes."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil

from taskserver import Client
from taskserver.worker.process_exit import EXIT_RECYCLE
from tests.acceptance.cli import Cli, Running
from tests.patience import PATIENCE

TOOLS = '''
import os
import time
from pathlib import Path

from taskserver import tool


@tool
def plain() -> int:
    """Say who runs it."""
    return os.getpid()


@tool(runs_in="process", timeout=None)
def busy(file: str) -> None:
    """Say who it is, and hold the core and the interpreter lock for ever."""
    Path(file).write_text(str(os.getpid()))
    sum(range(10**14))
'''
"""A file, given by its path; the C loop of `sum` lets no other thread of its process run."""

HIDDEN = """
from taskserver import tool

def make():
    @tool(runs_in="process")
    def made(): ...
    return made

made = make()
"""


def start(cli: Cli, *args: str) -> Running:
    (cli.folder / "heavy_tools.py").write_text(TOOLS)
    worker = cli.start("worker", "--tools", "./heavy_tools.py", "-c", "2", *args)
    worker.wait_for("is ready")
    return worker


async def busy_process(cli: Cli) -> psutil.Process:
    """The process in which a job keeps a core busy."""
    file = cli.folder / "pid"
    async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
        await client.submit("busy", {"file": str(file)}, max_retries=0)
        async with asyncio.timeout(PATIENCE):
            while not file.exists() or not file.read_text():
                await asyncio.sleep(0.01)
    return psutil.Process(int(file.read_text()))


async def ended(process: psutil.Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


async def test_no_process_outlives_a_worker_that_is_killed(cli: Cli) -> None:
    worker = start(cli)
    busy = await busy_process(cli)
    assert busy.ppid() == worker.pid
    worker.signal(signal.SIGKILL)
    await ended(busy)


async def test_signals_of_the_terminal_are_the_workers_business(cli: Cli) -> None:
    worker = start(cli, "--grace-period", "0.5")
    busy = await busy_process(cli)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as service managers send them to every process
        busy.send_signal(number)
    assert busy.is_running()
    worker.signal(signal.SIGINT)
    await ended(busy)
    assert worker.end().code == 0


def test_a_worker_that_is_to_be_replaced_says_so_by_its_exit_code(cli: Cli) -> None:
    worker = cli.start("worker", "--tools", "agent_tools", "--max-jobs", "1", "--max-rss", "8GB")
    worker.wait_for("is ready")
    assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    assert worker.end().code == EXIT_RECYCLE
    assert "is stopping to be replaced by a fresh process (exit code 75)" in "".join(worker.lines["err"])
    cli.forget(worker)


def test_limits_that_cannot_be_used_are_named(cli: Cli) -> None:
    done = cli.run("worker", "--tools", "agent_tools", "--max-rss", "1MB")
    assert (done.code, "Invalid value for '--max-rss': '1MB' is too small: it must be at least 64 MB" in done.err) == (
        2,
        True,
    )
    done = cli.run("worker", "--tools", "agent_tools", TASKSERVER_MAX_RSS="much")
    assert done.code == 2
    assert "environment variable TASKSERVER_MAX_RSS: " in done.err
    assert "is not a size" in done.err


def test_tools_that_a_process_cannot_find_are_refused_before_anything_starts(cli: Cli) -> None:
    (cli.folder / "hidden.py").write_text(HIDDEN)
    done = cli.run("worker", "--tools", "hidden")
    assert done.code == 2
    assert "runs_in='process' does not work inside a function; move the tool to the top level of its module" in done.err
    assert os.linesep + "Traceback" not in done.err
