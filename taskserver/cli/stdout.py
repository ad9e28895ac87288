"""Standard output belongs to a command's data, even if code of users prints something there."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import click

_kept: list[TextIO] = []


def stdout() -> TextIO:
    """Where the command's data goes."""
    return _kept[0] if _kept else sys.stdout


def write(text: str, *, end: str = "\n", color: bool | None = None) -> None:
    """Write some of the command's data."""
    click.echo(text + end, file=stdout(), nl=False, color=color)


def keep_stdout() -> None:
    """Keep standard output for ``write``: whatever else is written there goes to stderr until the process ends.

    Call it before code of users is imported. That may print in Python, in C or from programs that it starts, at once,
    from a thread, or when the process ends. So both ``sys.stdout`` and the file descriptor change for good.
    """
    if _kept:
        return
    theirs: Any = sys.stdout
    theirs.flush()
    _kept.append(open(os.dup(theirs.fileno()), "w", encoding=theirs.encoding, errors=theirs.errors))  # noqa: SIM115
    os.dup2(sys.stderr.fileno(), theirs.fileno())
    sys.stdout = sys.stderr
