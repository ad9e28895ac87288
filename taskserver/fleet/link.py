"""How a supervisor and its replicas talk: over a pair of sockets, the replica's end being its standard input.

So nothing of the assignment, which may hold a password, is in a command line or an environment; and whoever of the
two dies, the other one reads the end. Each message is its length in four bytes, and JSON.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

from taskserver import errors
from taskserver.domain.fleet import FleetCommand
from taskserver.errors import TaskServerError
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.sources import Stamp


class Begin(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To a new replica: what it shall do, and who it is."""

    assignment: Assignment
    supervisor: str
    number: int
    watched: bool = False


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To a replica: drain, or do not even wait."""

    hurry: bool = False


class Reopen(msgspec.Struct, frozen=True, tag=True):
    """To a replica: what it prints goes to the file of this name from now on."""

    log_file: str


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """From a replica: it takes jobs.

    Attributes:
        name: The worker's name.
        pid: Its process.
        metrics_port: Where its metrics are served; None for nowhere.
        files: Its source files, if they are watched.
    """

    name: str
    pid: int
    metrics_port: int | None = None
    files: dict[str, Stamp] = {}


class Stopping(msgspec.Struct, frozen=True, tag=True):
    """From a replica: it takes no more jobs."""


class Refused(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """From a replica: it cannot work.

    Attributes:
        kind: Name of the error's class, one of ``errors.py``.
        sentence: What it says.
        files: The source files that are concerned, if they are watched.
    """

    kind: str
    sentence: str
    files: dict[str, Stamp] = {}

    def error(self) -> TaskServerError:
        """The error as if it had been raised here."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, TaskServerError) and kind.__init__ is Exception.__init__:
            return kind(self.sentence)
        return TaskServerError(self.sentence)


class Heard(msgspec.Struct, frozen=True, tag=True):
    """From a replica: somebody gave an order over the broker."""

    order: FleetCommand


Down = Begin | Stop | Reopen
Up = Ready | Stopping | Refused | Heard


def pack(message: msgspec.Struct) -> bytes:
    """A message as it is sent."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(4, "big") + body


async def read(reader: asyncio.StreamReader, kind: Any) -> Any:
    """The next message; None when the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        return msgspec.json.decode(await reader.readexactly(length), type=kind)
    except (asyncio.IncompleteReadError, OSError):
        return None


def receive(link: socket.socket, kind: Any) -> Any:
    """The same before there is an event loop: it reads this one message and nothing beyond."""
    head = link.recv(4, socket.MSG_WAITALL)
    body = link.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if len(head) == 4 else b""
    return msgspec.json.decode(body, type=kind) if body else None
