"""How a process and one that it has started talk: over a socket pair whose other end is the child's standard input.

So no part of an assignment, which may hold a password, is in a command line or an environment; and if one of the two
dies, the other one reads the end of the stream. Each message is its length in four bytes, followed by JSON.

A supervisor outlives upgrades of the package, and its replicas may be newer than it is: tags and field names on the
wire do not change.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import msgspec

from taskserver import errors
from taskserver.domain.fleet import FleetCommand
from taskserver.errors import TaskServerError
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.sources import Stamp
from taskserver.fleet.terminal import empty_standard_input
from taskserver.forks import close_in_child


class Begin(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To a new replica: what to do, and who it is.

    Attributes:
        assignment: What to do.
        supervisor: Name of its supervisor.
        number: Its number there, from 1.
        watched: Whether to report its source files.
    """

    assignment: Assignment
    supervisor: str
    number: int
    watched: bool = False


class StopReplica(msgspec.Struct, frozen=True, tag="Stop"):
    """To a replica: drain; with ``hurry``, hand running jobs back at once."""

    hurry: bool = False


class Reopen(msgspec.Struct, frozen=True, tag=True):
    """To a replica: print to the file of this name from now on."""

    log_file: str


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """From a replica: it takes jobs. From a process in the background: everything that it runs does.

    Attributes:
        name: Name of the worker, supervisor or file.
        pid: The process.
        metrics_port: Where metrics are served; None if they are not.
        files: Its source files, if they are watched.
    """

    name: str
    pid: int
    metrics_port: int | None = None
    files: dict[str, Stamp] = {}


class Stopping(msgspec.Struct, frozen=True, tag=True):
    """From a replica: it takes no more jobs."""


class Refused(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """From a new process: it cannot start.

    Attributes:
        kind: Name of the error's class, one of ``errors.py``.
        sentence: The error's message.
        files: The source files involved, if they are watched.
    """

    kind: str
    sentence: str
    files: dict[str, Stamp] = {}

    @classmethod
    def of(cls, error: TaskServerError, files: dict[str, Stamp] | None = None) -> Refused:
        """The message for an error; its class is the nearest one that is made from a message alone."""
        kind = next(each.__name__ for each in type(error).__mro__ if _takes_a_message(each))
        return cls(kind=kind, sentence=str(error), files=files or {})

    def error(self) -> TaskServerError:
        """The error as if it had been raised here."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, TaskServerError) and _takes_a_message(kind):
            return kind(self.sentence)
        return TaskServerError(self.sentence)


class Heard(msgspec.Struct, frozen=True, tag=True):
    """From a replica: a command for its supervisor arrived over the broker."""

    command: FleetCommand = msgspec.field(name="order")


def _takes_a_message(kind: type[BaseException]) -> bool:
    return kind.__init__ is Exception.__init__


ToReplica = Begin | StopReplica | Reopen
FromReplica = Ready | Stopping | Refused | Heard


def pack(message: msgspec.Struct) -> bytes:
    """Encode a message for the wire."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(4, "big") + body


async def read(reader: asyncio.StreamReader, kind: Any) -> Any:
    """Read the next message; None if the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        return msgspec.json.decode(await reader.readexactly(length), type=kind)
    except (asyncio.IncompleteReadError, OSError):
        return None


def receive(link: socket.socket, kind: Any) -> Any:
    """Read one message, and no byte beyond it, before there is an event loop; None if the other side is gone."""
    head = link.recv(4, socket.MSG_WAITALL)
    body = link.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if len(head) == 4 else b""
    return msgspec.json.decode(body, type=kind) if body else None


def take_standard_input() -> socket.socket:
    """Take the link from this process's standard input; tools that read from there find it empty instead."""
    link = close_in_child(socket.socket(fileno=os.dup(0)))
    empty_standard_input()
    return link
