"""The program of a tool's process: it learns where modules are looked up, as in its worker, and goes on in ``child``.

It is started by its file, without a package around it: until it knows the worker's path it imports what comes with
Python only.
"""

from __future__ import annotations

import json
import socket
import sys


def start(line: int, life: int, crash: int) -> None:
    """Begin.

    Args:
        line: File descriptor of the socket on which jobs come.
        life: Of a pipe that ends when the worker does.
        crash: Of a pipe that takes the last words of the interpreter.
    """
    end = socket.socket(fileno=line)
    told = b""
    while not told.endswith(b"\n"):
        piece = end.recv(1)
        if not piece:
            return
        told += piece
    parent, path = json.loads(told)
    sys.path[:] = path
    from taskserver.tools.processes.child import live

    live(end, life, crash, parent)


if __name__ == "__main__":
    start(*map(int, sys.argv[1:]))
