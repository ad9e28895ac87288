"""Every error that taskserver raises, in one tree.

::

    TaskServerError
    ├── ConfigError                 a setting, URL, name or option that cannot work
    │   └── ConfigFileInvalid       a configuration file, with all that is wrong in it
    ├── BrokerError                 the server behind the queue
    │   ├── BrokerUnavailable       not reached, or the answer was lost: what was asked may have happened
    │   ├── BrokerDenied            wrong password, or a user that may not do this
    │   ├── BrokerUnsuitable        too old, would evict jobs, or holds keys that we do not know
    │   ├── BrokerFull              out of memory: nothing was written
    │   └── NotReplicated           written, but not by as many replicas, or not to disk, as was asked for
    ├── MessageError                what a producer sends
    │   ├── MessageInvalid          cannot be encoded or decoded, or nobody consumes its type
    │   ├── MessageTooLarge         more bytes, depth or elements than the limits allow
    │   └── SignatureInvalid        not signed, signed with another key or for another job, or too long ago
    ├── ToolError                   tools and their arguments
    │   ├── ToolInvalid             a declaration that cannot become a tool
    │   ├── ToolNotFound            no tool of that name here
    │   ├── ArgumentsInvalid        arguments that do not fit the tool's signature
    │   ├── ResultInvalid           a result that cannot be encoded, decoded or is too large
    │   └── RaisedInProcess         what a tool raised in a process of its own, as text
    │       └── ToolCrashed         that process ended under the tool, or took too much memory
    ├── JobError                    one job
    │   ├── JobNotFound             unknown id, or its record has expired
    │   ├── JobFailed               it ended without a result; carries the remote error as text
    │   ├── JobCancelled            it was cancelled
    │   ├── JobExpired              it was not started in time
    │   ├── JobConflict             the job's state does not allow what was asked
    │   └── ResultTimeout           it has not ended yet (also a ``TimeoutError``)
    ├── WorkerError                 a worker or its supervisor
    │   ├── WorkerNotFound          nobody of that name is running
    │   └── WorkersUnchanged        what was asked of workers is not done yet (also a ``TimeoutError``)
    └── PermanentError              raised *by a tool*: fail now, do not try again

Messages are one sentence for people: what was wrong, where, and what to do. They never hold a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TaskServerError(Exception):
    """Base of every error here; catch it to catch them all."""


class ConfigError(TaskServerError):
    """A setting, URL, name or option that cannot work; the message says which and what to write instead."""


class Problem(NamedTuple):
    """One thing that is wrong in a configuration file.

    Attributes:
        line: Where, from 1; 0 if it is the file as a whole.
        key: Which key, such as ``task_server.replicas``; '' if it is none.
        text: What is wrong, and what to write.
    """

    line: int
    key: str
    text: str


class ConfigFileInvalid(ConfigError):
    """A configuration file that cannot be used.

    Attributes:
        file: The file, as it was named.
        problems: All that is wrong in it, by line.
    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = list(problems)
        lines = [
            f"{file}{f':{line}' if line else ''}: {f'{key}: ' if key else ''}{text}" for line, key, text in problems
        ]
        super().__init__("\n".join(lines if len(lines) == 1 else [f"{len(lines)} errors in {file}:", *lines]))


class BrokerError(TaskServerError):
    """Something about the Redis-compatible server behind the queue."""


class BrokerUnavailable(BrokerError):
    """The broker was not reached, or its answer was lost.

    What was asked is *unknown*: it may have happened. Every operation of this package is safe to repeat;
    for a submit, repeat it with the same idempotency key.
    """


class BrokerDenied(BrokerError):
    """The broker refused the user or password, or the user may not run a command."""


class BrokerUnsuitable(BrokerError):
    """The broker is too old, lacks a command, would lose jobs as it is set up, or holds keys of a newer version."""


class BrokerFull(BrokerError):
    """The broker is out of memory and refused a write; nothing was written."""


class NotReplicated(BrokerError):
    """The broker has the jobs, but they are not as durable as ``durability`` asks for: a failover could lose them.

    Submit again with the same idempotency key: that writes nothing twice, and waits again.
    """


class MessageError(TaskServerError):
    """Something about a message that a producer sends."""


class MessageInvalid(MessageError):
    """The message cannot be encoded or decoded, or its type has no consumer."""


class MessageTooLarge(MessageError):
    """The message has more bytes, depth or elements than the limits allow."""


class SignatureInvalid(MessageError):
    """The message is not signed with a key that is taken here, or its signature has expired."""


class ToolError(TaskServerError):
    """Something about a tool or its arguments."""


class ToolInvalid(ToolError):
    """A declaration that cannot become a tool."""


class ToolNotFound(ToolError):
    """No tool of that name is known here."""


class ArgumentsInvalid(ToolError):
    """The arguments do not fit the tool's signature; the message names each place, for people and for models."""


class ResultInvalid(ToolError):
    """A tool's result cannot be encoded or decoded, or is too large."""


class RaisedInProcess(ToolError):
    """What a tool raised in a process of its own. It came as text: its type is not imported here.

    What was a ``PermanentError`` there is one here as well.

    Attributes:
        error_type: Name of its type.
        error_message: Its message.
        traceback: Its traceback; empty when there is none.
    """

    def __init__(self, error_type: str, error_message: str, traceback: str = "") -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class ToolCrashed(RaisedInProcess):
    """The process of a tool ended under it: killed, crashed, or ended by itself; or it took too much memory."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__("ToolCrashed", message, traceback)


class JobError(TaskServerError):
    """Something about one job.

    Attributes:
        job_id: The job's id.
    """

    def __init__(self, job_id: str, message: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(JobError):
    """No record of this job: the id is unknown, or the record has expired."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, f"no job {job_id!r}: the id is unknown, or its record has expired")


class JobFailed(JobError):
    """The job ended without a result: state ``failed`` or ``dead``.

    Attributes:
        error_type: Name of the remote exception's type, as text; it is never imported.
        error_message: The remote exception's message.
        traceback: The remote traceback as text; empty when no code of a tool ran.
    """

    def __init__(self, job_id: str, error_type: str, error_message: str, traceback: str = "") -> None:
        super().__init__(job_id, f"job {job_id} failed: {error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class JobCancelled(JobError):
    """The job was cancelled, so it has no result."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, f"job {job_id} was cancelled")


class JobExpired(JobError):
    """The job was not started before its ``expires``, so it has no result."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, f"job {job_id} expired before a worker started it")


class JobConflict(JobError):
    """The job's state does not allow what was asked of it."""


class ResultTimeout(JobError, TimeoutError):
    """The job has not ended within the time given; it goes on, and can be awaited again."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(job_id, f"job {job_id} has not ended after {seconds:g} s; it goes on")


class WorkerError(TaskServerError):
    """Something about a worker or its supervisor."""


class WorkerNotFound(WorkerError):
    """No worker, supervisor or task server of that name is running at this broker."""


class WorkersUnchanged(WorkerError, TimeoutError):
    """Workers have not done within the time given what was asked of them; they may do it later."""


class PermanentError(TaskServerError):
    """Raise it from a tool or consumer to fail the job at once: trying again would not help."""
