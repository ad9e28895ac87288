"""The program of a tool process: it takes over the worker's module path, and continues in ``child``.

It is started by its file, not as part of the package: until it knows the worker's module path it imports only the
standard library.
"""

from __future__ import annotations

import json
import socket
import sys


def start(link: int, life: int, crash: int) -> None:
    """Start the process.

    Args:
        link: File descriptor of the socket to the worker.
        life: File descriptor of a pipe that ends with the worker.
        crash: File descriptor of a pipe for the interpreter's output when it crashes.
    """
    end = socket.socket(fileno=link)
    greeting = b""
    while not greeting.endswith(b"\n"):
        piece = end.recv(1)
        if not piece:
            return
        greeting += piece
    parent, path = json.loads(greeting)
    sys.path[:] = path
    from taskserver.tools.processes.child import live

    live(end, life, crash, parent)


if __name__ == "__main__":
    start(*map(int, sys.argv[1:]))
