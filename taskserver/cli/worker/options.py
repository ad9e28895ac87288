"""Options by which ``taskserver worker``'s commands choose workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")


def host_and_queue(command: F) -> F:
    """``--host`` and ``--queue``."""
    command = click.option("--queue", "-q", metavar="NAME", help="Only workers that consume this queue.")(command)
    return click.option("--host", metavar="NAME", help="Only workers on this machine.")(command)
