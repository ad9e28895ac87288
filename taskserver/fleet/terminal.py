"""A worker reads nothing from whoever started it: neither from its standard input nor from a terminal."""

from __future__ import annotations

import fcntl
import os
import termios
from contextlib import suppress


def empty_standard_input() -> None:
    """Let the standard input be empty: a tool, or a program that it starts, gets the end of the file at once."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    if empty:
        os.close(empty)


def leave_terminal() -> None:
    """Give up the terminal, which passwords are asked at; Ctrl-C still arrives, and output still goes there.

    A process that leads its session keeps its terminal: without it, all of the session would lose it.
    """
    if os.getsid(0) == os.getpid():
        return
    with suppress(OSError):  # there is none
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)
