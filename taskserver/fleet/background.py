"""Processes in the background: a command starts one, waits until it is ready, and leaves it running.

Each is a fresh interpreter in a session of its own, not a fork of the command: ``python -m
taskserver.fleet.background``. Its standard input is the link (``link.py``): the task goes in, ``Ready`` or ``Refused``
comes out.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import msgspec

from taskserver.aio import cancel_and_wait
from taskserver.errors import TaskServerError
from taskserver.fleet.interpreter import interpreter
from taskserver.fleet.link import Ready, Refused, pack, receive, take_standard_input
from taskserver.fleet.output import open_log_file
from taskserver.fleet.pidfile import pid_file
from taskserver.fleet.supervisor.process import MainTask, ReportReady, SupervisorConfig, supervise
from taskserver.fleet.up import run_up
from taskserver.fleet.up_state import UpFolder
from taskserver.worker.process_exit import EXIT_BROKEN


class RunSupervisor(msgspec.Struct, frozen=True, tag=True):
    """The task of ``taskserver worker --daemon``: a supervisor, and its PID file or ''."""

    config: SupervisorConfig
    pid_file: str = ""


class RunUp(msgspec.Struct, frozen=True, tag=True):
    """The task of ``taskserver up --detach``: the file, and tools for task servers that name none."""

    file: str
    modules: tuple[str, ...] = ()


def launch_supervisor(config: SupervisorConfig, pid_file: str = "") -> Ready:
    """Start a supervisor in the background, and return once all its replicas take jobs.

    Raises:
        ConfigError: if its log file cannot be written.
        TaskServerError: if it cannot start; no process of it is left then.
    """
    return _launch(RunSupervisor(config, pid_file), config.assignment.task_server, config.log_file)


def launch_up(file: str, modules: tuple[str, ...]) -> Path:
    """Bring a file up in the background, and return the log file once everything is ready.

    Raises:
        TaskServerError: if it cannot start; no process of it is left then.
    """
    log = UpFolder.of(file).create().log
    _launch(RunUp(file, modules), file, str(log))
    return log


def _launch(task: RunSupervisor | RunUp, label: str, log_file: str) -> Ready:
    """Start a process for the task; the label is the last word of its command, for people who list processes."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, open_log_file(log_file) as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*interpreter(), "-m", "taskserver.fleet.background", label],
                stdin=theirs.fileno(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        with suppress(OSError):
            ours.sendall(pack(task))
        answer = receive(ours, Ready | Refused)
    if isinstance(answer, Ready):
        process.returncode = 0  # do not wait for it: it outlives this process
        return answer
    process.wait()
    if isinstance(answer, Refused):
        raise answer.error()
    raise TaskServerError(f"the process exited before it was ready; see {log_file}")


def main() -> int:
    """Run the task that comes over the link; return the exit code."""
    with take_standard_input() as link:
        task = receive(link, RunSupervisor | RunUp)
        if task is None:
            return EXIT_BROKEN
        try:
            return _run(task, partial(_report_ready, link))
        except TaskServerError as error:
            with suppress(OSError):
                link.sendall(pack(Refused.of(error)))
            return EXIT_BROKEN


def _run(task: RunSupervisor | RunUp, report_ready: ReportReady) -> int:
    if isinstance(task, RunUp):
        return run_up(task.file, task.modules, _log, report_ready)
    with pid_file(task.pid_file) if task.pid_file else nullcontext():
        return supervise(task.config, report_ready)


async def _report_ready(link: socket.socket, main_task: MainTask) -> None:
    """Tell the command that we are ready. If it is gone before, nobody knows of this process, and it stops."""
    link.setblocking(False)
    gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(link, 1))
    ready = asyncio.create_task(main_task.ready.wait())
    try:
        await asyncio.wait((gone, ready), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            link.sendall(pack(Ready(name=main_task.name, pid=os.getpid())))
        else:
            main_task.stop()
    except OSError:
        main_task.stop()
    finally:
        await cancel_and_wait(gone, ready)


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
