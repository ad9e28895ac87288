"""Just enough of the server's protocol for a health check: one inline command on a connection of its own."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from taskserver.errors import ConfigError

_TIMEOUT = 1.0


def ask(path: Path, command: str) -> str | None:
    """Send one command, without quoting, to the socket ``path``, and return the reply.

    Returns:
        The text of a bulk reply, or the line of any other with its ``+`` or ``-``; None if there is no answer.

    Raises:
        ConfigError: if another user's process listens there.
    """
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_TIMEOUT)
            link.connect(str(path))
            _check_peer(link, path)
            link.sendall(f"{command}\r\n".encode())
            with link.makefile("rb") as replies:
                first = replies.readline()
                body = replies.read(int(first[1:])) if first.startswith(b"$") else first.strip()
    except OSError:
        return None
    return body.decode(errors="replace")


def is_ready(path: Path) -> bool:
    """Whether a server answers at the socket ``path`` and has loaded its data."""
    return ask(path, "PING") == "+PONG"


def info(path: Path) -> dict[str, str]:
    """The ``server`` section of the server's INFO; empty if there is no answer."""
    lines = (ask(path, "INFO server") or "").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_peer(link: socket.socket, path: Path) -> None:
    """Refuse a server that another user started, where the operating system tells who did."""
    if not hasattr(socket, "SO_PEERCRED"):
        return
    _, user, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if user != os.geteuid():
        raise ConfigError(
            f"the server at {str(path)!r} runs as another user, with the id {user}: "
            "remove the socket, or set TASKSERVER_HOME to a folder of your own"
        )
