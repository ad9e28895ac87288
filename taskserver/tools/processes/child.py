"""What runs inside a tool process: it imports the tools' modules once, and runs one job after the other.

It must not outlive its worker, however that ends. Three things make sure of that: the link to the worker breaks; a
thread notices the end of a pipe that only the worker holds open, even while a tool is running; and on Linux the kernel
kills it, even while a tool holds the interpreter lock.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType

from taskserver.domain.job import Failure
from taskserver.domain.secrets import Redactor, SecretNames, secret_values
from taskserver.domain.sizes import size_text
from taskserver.forks import own_signals
from taskserver.tools import codec
from taskserver.tools.context import Context
from taskserver.tools.failures import failure_of, is_permanent
from taskserver.tools.processes.calls import ProcessTools
from taskserver.tools.processes.memory import limited
from taskserver.tools.processes.relay import Relay, relay_logs
from taskserver.tools.processes.wire import (
    JobBegun,
    ProcessJob,
    ProcessReady,
    ToolRaised,
    ToolReturned,
    Welcome,
    WorkerLink,
)

_PR_SET_PDEATHSIG = 1  # prctl(2)
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def live(end: socket.socket, life: int, crash: int, parent: int) -> None:
    """Run jobs until the worker closes the link."""
    _stay_with(parent, life)
    faulthandler.enable(crash, all_threads=False)
    for descriptor in (end.fileno(), life, crash):
        os.set_inheritable(descriptor, False)
    link = WorkerLink(end)
    os.register_at_fork(after_in_child=link.close)
    welcome = link.receive()
    if not isinstance(welcome, Welcome):
        return
    relay = Relay(link)
    relay_logs(relay, welcome.loglevel)
    jobs = _Jobs(welcome, relay)
    link.send(ProcessReady())
    try:
        _run_jobs(link, jobs, welcome.most_jobs)
    finally:
        jobs.close()


def _run_jobs(link: WorkerLink, jobs: _Jobs, most: int) -> None:
    """Run jobs until the link is closed, or the process is spent."""
    for number in range(1, most + 1):
        job = link.receive()
        if not isinstance(job, ProcessJob):
            return
        link.send(JobBegun(job.number))
        answer = jobs.run(job, spent=number == most)
        link.send(answer)
        if answer.spent:
            return


def _stay_with(parent: int, life: int) -> None:
    """End with the worker, but ignore signals from terminals and service managers, which the worker handles."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before this took effect
        os._exit(0)
    threading.Thread(target=_watch, args=(life,), name="taskserver life", daemon=True).start()
    for number in _IGNORED:
        signal.signal(number, _ignore)  # not SIG_IGN, which programs started by a tool would inherit
    own_signals(_IGNORED)


def _ignore(_: int, __: FrameType | None) -> None:
    return


def _watch(life: int) -> None:
    os.read(life, 1)  # returns when the worker has ended: nothing is ever written
    os.killpg(0, signal.SIGKILL)  # including programs that the tool has started


class _Jobs:
    """Runs the jobs of this process, and reports how they end."""

    def __init__(self, welcome: Welcome, relay: Relay) -> None:
        self._max_message_bytes = welcome.max_message_bytes
        self._relay = relay
        self._tools = ProcessTools(welcome.tools)

    def run(self, job: ProcessJob, *, spent: bool) -> ToolReturned | ToolRaised:
        """Run a job and return how it ended. If ``spent``, it is the last job of this process."""
        redact = self._relay.redact = _redactor(job)
        if (broken := self._tools.broken(job.tool)) is not None:
            # The next process may succeed: what was missing may exist by then.
            return ToolRaised(job.number, failure_of(broken, redact), permanent=False, spent=True)
        try:
            with limited(job.max_memory):
                returned = self._tools.run(job.tool, job.arguments, self._context(job))
                result = codec.encode(returned, max_bytes=self._max_message_bytes)
            return ToolReturned(job.number, result, spent or self._tools.spent)
        except BaseException as error:  # noqa: BLE001 - whatever a tool raises is reported
            failure = failure_of(error, redact)
            spent = spent or self._tools.spent or isinstance(error, MemoryError)
            if isinstance(error, MemoryError) and job.max_memory is not None:
                failure = Failure(failure.type, _too_much(failure.message, job.max_memory), failure.traceback)
            return ToolRaised(job.number, failure, is_permanent(error), spent)
        finally:
            self._relay.number = 0

    def close(self) -> None:
        """Close what the tools have open."""
        self._tools.close()

    def _context(self, job: ProcessJob) -> Context:
        self._relay.number = job.number
        return Context(
            job_id=job.job_id,
            queue=job.queue,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            idempotency_key=job.idempotency_key,
            session_id=job.session_id,
            tags=job.tags,
            sink=self._relay.of(job.number),
        )


def _too_much(message: str, most: int) -> str:
    start = f"{message}; " if message else ""
    return f"{start}the process reached its max_memory of {size_text(most)}"


def _redactor(job: ProcessJob) -> Callable[[str], str]:
    """What masks the job's secrets; they are looked for when a text is masked first, which is rarely."""
    names = SecretNames(job.secrets)

    @cache
    def redactor() -> Redactor:
        return Redactor(secret_values(job.arguments, names))

    return lambda text: redactor()(text)
