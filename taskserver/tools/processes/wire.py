"""What goes between a worker and the processes of its tools: msgspec structs, each behind its length.

========  ==========  ==============================================================
to        struct      when
========  ==========  ==============================================================
process   Welcome     first
worker    ProcessReady       its modules are imported, or it is known which are not
process   ProcessJob         it may run one
worker    Begun       it has the job: until then, another process may be given it
worker    Reported        the tool reports progress or output
worker    Logged      something was logged there
worker    Returned    the tool returned
worker    Raised      it did not
========  ==========  ==============================================================
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import msgspec

from taskserver.domain.events import Report
from taskserver.domain.job import Failure
from taskserver.domain.limits import MAX_BYTES

MOST_BYTES = 2 * MAX_BYTES
"""The longest frame that a worker takes: the largest result, and something around it."""
MOST_CHARACTERS = 256 * 1024
"""The longest text of an error or a log line."""
HEAD = struct.Struct(">I")


class ToolReference(msgspec.Struct, frozen=True, array_like=True):
    """A tool's module, and its name there."""

    module: str
    name: str


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a process is told first.

    Attributes:
        tools: Where each is defined, by the tool's name.
        loglevel: Lines below it are not told.
        max_result_bytes: The largest result that is kept.
        most_jobs: After so many it ends, to be replaced.
    """

    tools: dict[str, ToolReference]
    loglevel: int
    max_result_bytes: int
    most_jobs: int


class ProcessJob(msgspec.Struct, frozen=True, array_like=True, tag="Job"):
    """One attempt: the tool, its arguments as plain data, what its Context says, and what it may take.

    Attributes:
        number: Rises with each; whatever is told of it carries it.
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


class ProcessReady(msgspec.Struct, frozen=True, array_like=True, tag="Ready"):
    """The process takes jobs."""


class Begun(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The process has the job, and calls the tool next."""

    number: int


class Reported(msgspec.Struct, frozen=True, array_like=True, tag="Said"):
    """The tool reported something."""

    number: int
    report: Report


class Logged(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A line of the log: fields of a ``logging.LogRecord``, its text made and its traceback written already."""

    logger: str
    level: int
    text: str
    traceback: str | None
    created: float
    file: str
    line: int
    function: str | None
    extra: dict[str, str | int | float | bool | None]


class Returned(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The tool returned.

    Attributes:
        result: As MessagePack.
        spent: Whether the process ends now, to be replaced.
    """

    number: int
    result: bytes
    spent: bool = False


class Raised(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The tool raised, or could not be called.

    Attributes:
        failure: What, as text.
        permanent: Whether another attempt would not help.
        spent: As with ``Returned``.
    """

    number: int
    failure: Failure
    permanent: bool = False
    spent: bool = False


ProcessMessage = ProcessReady | Begun | Reported | Logged | Returned | Raised
WorkerMessage = Welcome | ProcessJob

_encode = msgspec.msgpack.Encoder().encode
decode_process_message = msgspec.msgpack.Decoder(ProcessMessage).decode
_decode_worker_message = msgspec.msgpack.Decoder(WorkerMessage).decode


def frame(message: WorkerMessage | ProcessMessage) -> bytes:
    """The bytes that go over the line."""
    data = _encode(message)
    return HEAD.pack(len(data)) + data


class WorkerLink:
    """The process's end; any of its threads may send."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def send(self, answer: ProcessMessage) -> None:
        """Tell the worker, waiting while it does not listen.

        Raises:
            OSError: if there is no worker any more.
        """
        data = frame(answer)
        with self._sending:
            self._socket.sendall(data)

    def receive(self) -> WorkerMessage | None:
        """Wait for the next order; None if there will be none."""
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
        """In a fork of the process: the line is not its own."""
        self._socket.close()
