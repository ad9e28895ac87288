"""The messages between a worker and its tool processes: msgspec structs, each preceded by its length.

========  ============  =====================================================================
to        struct        when
========  ============  =====================================================================
process   Welcome       first
worker    ProcessReady  the modules were imported, or failed to import
process   ProcessJob    there is a job to run
worker    JobBegun      it has the job: until then, the job can be given to another process
worker    Reported      the tool reports progress or output
worker    Logged        something was logged
worker    ToolReturned  the tool returned
worker    ToolRaised    the tool raised an error, or could not be called
========  ============  =====================================================================

The tags of renamed structs are their former names.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import msgspec

from taskserver.domain.events import Report
from taskserver.domain.job import Failure
from taskserver.domain.messages import MAX_BYTES

MOST_BYTES = 2 * MAX_BYTES
"""Maximum size of a frame that a worker accepts: the largest result, and some more."""
LOGGED_CHARACTERS = 256 * 1024
"""Maximum number of characters in a log record, all its texts together."""
HEAD = struct.Struct(">I")


class ToolReference(msgspec.Struct, frozen=True, array_like=True):
    """A tool's module, and its name there."""

    module: str
    name: str


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The first message to a process.

    Attributes:
        tools: Where each tool is defined, by the tool's name.
        loglevel: Log records below this level are not sent.
        max_message_bytes: Maximum size of a result in bytes.
        most_jobs: Number of jobs after which the process ends, to be replaced.
    """

    tools: dict[str, ToolReference]
    loglevel: int
    max_message_bytes: int
    most_jobs: int


class ProcessJob(msgspec.Struct, frozen=True, array_like=True, tag="Job"):
    """One attempt: the tool, its arguments as plain data, the contents of its Context, and its memory limit.

    Attributes:
        number: Rises with each job; all messages about the job contain it.
        secrets: Names of arguments, and of fields inside them, whose values are masked, besides those that look secret.
    """

    number: int
    tool: str
    arguments: dict[str, Any]
    job_id: str
    queue: str
    attempt: int
    max_attempts: int
    idempotency_key: str
    session_id: str | None
    tags: tuple[str, ...]
    max_memory: int | None
    secrets: tuple[str, ...] = ()


class ProcessReady(msgspec.Struct, frozen=True, array_like=True, tag="Ready"):
    """The process accepts jobs."""


class JobBegun(msgspec.Struct, frozen=True, array_like=True, tag="Begun"):
    """The process has received the job, and calls the tool next."""

    number: int


class Reported(msgspec.Struct, frozen=True, array_like=True, tag="Said"):
    """The tool reported something."""

    number: int
    report: Report


class Logged(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A log record: fields of a ``logging.LogRecord``, with its message and traceback formatted."""

    logger: str
    level: int
    text: str
    traceback: str | None
    created: float
    file: str
    line: int
    function: str | None
    extra: dict[str, str | int | float | bool | None]


class ToolReturned(msgspec.Struct, frozen=True, array_like=True, tag="Returned"):
    """The tool returned.

    Attributes:
        result: As MessagePack.
        spent: Whether the process ends now, to be replaced.
    """

    number: int
    result: bytes
    spent: bool = False


class ToolRaised(msgspec.Struct, frozen=True, array_like=True, tag="Raised"):
    """The tool raised an error, or could not be called.

    Attributes:
        failure: The error as text.
        permanent: Whether another attempt would not help.
        spent: As with ``ToolReturned``.
    """

    number: int
    failure: Failure
    permanent: bool = False
    spent: bool = False


ProcessMessage = ProcessReady | JobBegun | Reported | Logged | ToolReturned | ToolRaised
WorkerMessage = Welcome | ProcessJob

_encode = msgspec.msgpack.Encoder().encode
decode_process_message = msgspec.msgpack.Decoder(ProcessMessage).decode
_decode_worker_message = msgspec.msgpack.Decoder(WorkerMessage).decode


def frame(message: WorkerMessage | ProcessMessage) -> bytes:
    """The message as bytes, preceded by their length."""
    data = _encode(message)
    return HEAD.pack(len(data)) + data


class WorkerLink:
    """The process's end of the link to its worker; any thread may send."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def send(self, answer: ProcessMessage) -> None:
        """Send a message to the worker; blocks while the worker does not read.

        Raises:
            OSError: if the worker has ended.
        """
        data = frame(answer)
        with self._sending:
            self._socket.sendall(data)

    def receive(self) -> WorkerMessage | None:
        """Wait for the next message; None if the link is closed."""
        head = self._read(HEAD.size)
        body = self._read(HEAD.unpack(head)[0]) if head else b""
        return _decode_worker_message(body) if body else None

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(min(count - len(data), 1 << 20))
            if not piece:
                return b""
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Close this end; called in forks of the process, to which the link does not belong."""
        self._socket.close()
