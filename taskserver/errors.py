"""All errors that taskserver raises, in one tree.

::

    TaskServerError
    ├── ConfigError                 an invalid setting, URL, name or option
    │   └── ConfigFileInvalid       a configuration file with errors; lists all of them
    ├── ClientUnusable              a client or inspector that is closed, or belongs to another event loop or process
    ├── BrokerError                 the Redis-compatible server
    │   ├── BrokerUnavailable       could not be reached, or its answer was lost: the operation may have happened
    │   │   └── TLSFailed           no TLS connection can be made: a file, a certificate, a name or the wrong scheme
    │   ├── BrokerDenied            wrong user or password, or a user without permission
    │   ├── BrokerUnsuitable        too old, would evict jobs, or contains keys of a newer version
    │   ├── BrokerFull              out of memory: nothing was written
    │   └── NotReplicated           written, but not to disk, or not by as many replicas, as required
    ├── MessageError                a message that a producer sends
    │   ├── MessageInvalid          cannot be encoded or decoded, or no consumer is registered for its type
    │   ├── MessageTooLarge         more bytes, depth or elements than the limits allow
    │   └── SignatureInvalid        not signed, signed with another key or for another job, or expired
    ├── ToolError                   a tool or its arguments
    │   ├── ToolInvalid             a declaration that cannot be a tool
    │   ├── ToolNotFound            no tool with this name
    │   ├── ArgumentsInvalid        arguments that do not match the tool's signature
    │   ├── ResultInvalid           a result that cannot be encoded or decoded, or is too large
    │   └── RaisedInProcess         an error that a tool raised in a process of its own, as text
    │       └── ToolCrashed         the process ended while it ran the tool, or used too much memory
    ├── JobError                    one job
    │   ├── JobNotFound             unknown id, or its record has expired
    │   │   └── JobIdInvalid        not a job id at all (also a ``ConfigError``)
    │   ├── JobFailed               ended without a result; contains the remote error as text
    │   ├── JobCancelled            was cancelled
    │   ├── JobExpired              was not started in time
    │   ├── JobConflict             its state does not allow the operation
    │   └── ResultTimeout           has not ended yet (also a ``TimeoutError``)
    ├── WorkerError                 a worker or its supervisor
    │   ├── WorkerNotFound          none with this name is running
    │   ├── WorkerBroken            a worker inside your program could not continue; its jobs go to other workers
    │   └── WorkersUnchanged        workers have not carried out a command yet (also a ``TimeoutError``)
    └── PermanentError              raised *by a tool*: fail now, do not try again

Messages are one sentence for people: what is wrong, where, and what to do. They never contain a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class TaskServerError(Exception):
    """Base class of all errors; catch it to catch them all. Each survives ``pickle`` and ``copy`` as it is."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """An exception is usually made again from its text alone, but most of ours take something else."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[TaskServerError], args: tuple[Any, ...]) -> TaskServerError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ConfigError(TaskServerError):
    """A setting, URL, name or option is invalid; the message says which, and what to write instead."""


class Problem(NamedTuple):
    """One error in a configuration file.

    Attributes:
        line: Line number from 1; 0 for the file as a whole.
        key: The key, such as ``task_server.replicas``; empty if it is not about one key.
        text: What is wrong, and what to write instead.
    """

    line: int
    key: str
    text: str


class ConfigFileInvalid(ConfigError):
    """A configuration file is invalid.

    Attributes:
        file: Name of the file, as given.
        problems: All errors in it, by line.
    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = list(problems)
        lines = [
            f"{file}{f':{line}' if line else ''}: {f'{key}: ' if key else ''}{text}" for line, key, text in problems
        ]
        super().__init__("\n".join(lines if len(lines) == 1 else [f"{len(lines)} errors in {file}:", *lines]))


class ClientUnusable(TaskServerError, RuntimeError):
    """A client, inspector or handle was used after it was closed, before it was connected, or outside its event loop.

    The message says which. What it was to do was not done, or, if it had begun, it is unknown whether it was.
    """


class BrokerError(TaskServerError):
    """Base class of errors about the broker, the Redis-compatible server.

    Attributes:
        acknowledged: Of a ``submit_many``: for each call, in order, the id of its job, or None if the broker has not
            acknowledged it. Empty for everything else.
        done: Of a call that changes many jobs: how many it had changed when it failed. The message says it too.
    """

    acknowledged: Sequence[str | None] = ()
    done: int = 0

    def __str__(self) -> str:
        return super().__str__() + (f"; {self.done:,} jobs were changed before" if self.done else "")


class BrokerUnavailable(BrokerError):
    """The broker could not be reached, or its answer was lost.

    It is *unknown* whether the operation happened. Every operation of this package is safe to repeat; repeat a submit
    with the same idempotency key.
    """


class TLSFailed(BrokerUnavailable):
    """No TLS connection to the broker can be made, and waiting does not help.

    A file that the URL names cannot be used, the server's certificate is not trusted or for another name, or only one
    of the two sides speaks TLS.
    """


class BrokerDenied(BrokerError):
    """The broker refused the user or password, or the user may not run a command."""


class BrokerUnsuitable(BrokerError):
    """The broker is too old, lacks a command, is configured to lose jobs, or contains keys of a newer version."""


class BrokerFull(BrokerError):
    """The broker is out of memory and refused a write; nothing was written."""


class NotReplicated(BrokerError):
    """The broker has the jobs, but they are not as durable as ``durability`` requires: a failover could lose them.

    Submit again with the same idempotency key: that writes nothing twice, and waits again.
    """


class MessageError(TaskServerError):
    """Base class of errors about a message that a producer sends."""


class MessageInvalid(MessageError):
    """The message cannot be encoded or decoded, or no consumer is registered for its type."""


class MessageTooLarge(MessageError):
    """The message has more bytes, depth or elements than the limits allow."""


class SignatureInvalid(MessageError):
    """The message is not signed with an accepted key, or its signature has expired."""


class ToolError(TaskServerError):
    """Base class of errors about a tool or its arguments."""


class ToolInvalid(ToolError):
    """The declaration cannot be a tool."""


class ToolNotFound(ToolError):
    """There is no tool with this name."""


class ArgumentsInvalid(ToolError):
    """The arguments do not match the tool's signature; the message says what to change, for people and models."""


class ResultInvalid(ToolError):
    """A tool's result cannot be encoded or decoded, or is too large."""


class RaisedInProcess(ToolError):
    """An error that a tool raised in a process of its own, as text: its type is not imported here.

    If it was a ``PermanentError`` there, this is one as well.

    Attributes:
        error_type: Name of the error's type.
        error_message: Its message.
        traceback: Its traceback; empty if there is none.
    """

    def __init__(self, error_type: str, error_message: str, traceback: str = "") -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class ToolCrashed(RaisedInProcess):
    """The process of a tool ended while it ran the tool, or used too much memory."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__("ToolCrashed", message, traceback)


class JobError(TaskServerError):
    """Base class of errors about one job.

    Attributes:
        job_id: The job's id.
    """

    def __init__(self, job_id: str, message: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(JobError):
    """There is no record of this job: the id is unknown, or the record has expired."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, f"job {job_id!r} not found: the id is unknown, or its record has expired")


class JobIdInvalid(JobNotFound, ConfigError):
    """This is not a job id, so there is no such job: whoever handles ``JobNotFound`` need not handle this."""

    def __init__(self, job_id: str, problem: str) -> None:
        JobError.__init__(self, job_id, f"{job_id!r} is not a job id: {problem}")


class JobFailed(JobError):
    """The job ended without a result: state ``failed`` or ``dead``.

    Attributes:
        state: Which of the two.
        error_type: Name of the remote exception's type; it is never imported.
        error_message: The remote exception's message.
        traceback: The remote traceback as text; empty if no tool code ran.
    """

    def __init__(
        self, job_id: str, error_type: str, error_message: str, traceback: str = "", state: str = "failed"
    ) -> None:
        ended = "is dead" if state == "dead" else "failed"
        super().__init__(job_id, f"job {job_id} {ended}: {error_type}: {error_message}")
        self.state = state
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class JobCancelled(JobError):
    """The job was cancelled, so it has no result."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, f"job {job_id} was cancelled")


class JobExpired(JobError):
    """The job was not started within its ``expires`` time, so it has no result."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, f"job {job_id} expired before a worker started it")


class JobConflict(JobError):
    """The job's state does not allow the operation, or its idempotency key belongs to another job.

    Attributes:
        acknowledged: Of a ``submit_many``: for each call, in order, the id of its job, or None if it conflicts. Empty
            for everything else.
    """

    acknowledged: Sequence[str | None] = ()


class ResultTimeout(JobError, TimeoutError):
    """The job has not ended within the given time. It keeps running, and can be awaited again."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(job_id, f"job {job_id} has not ended after {seconds:g} s; it keeps running")


class WorkerError(TaskServerError):
    """Base class of errors about a worker or its supervisor."""


class WorkerNotFound(WorkerError):
    """No worker, supervisor or task server with this name is running at this broker."""


class WorkerBroken(WorkerError):
    """A worker inside your program could not continue: the event loop was blocked, or there was no memory left.

    It has stopped, and other workers get its jobs. A worker in a process of its own ends that process instead.
    """


class WorkersUnchanged(WorkerError, TimeoutError):
    """Workers have not carried out a command within the given time; they may do so later."""


class PermanentError(TaskServerError):
    """Raise this from a tool or consumer to fail the job at once, when another attempt would not help."""
