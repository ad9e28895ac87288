"""Asking before something cannot be undone."""

from __future__ import annotations

import sys

import click


def confirmed(what: str, yes: bool) -> bool:
    """Whether to go ahead.

    Args:
        what: What is about to happen, with the number, such as ``delete 3 jobs``.
        yes: Whether the command line has said so already.

    Raises:
        click.UsageError: if it has not, and there is no terminal to ask at.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"this would {what}: say --yes to do it")
    return click.confirm(f"{what[:1].upper()}{what[1:]}?", err=True)
