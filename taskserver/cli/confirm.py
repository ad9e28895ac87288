"""Asking before something cannot be undone."""

from __future__ import annotations

import sys

import click


def confirm(action: str, yes: bool) -> bool:
    """Whether to go ahead.

    Args:
        action: What is about to happen, with the number, such as ``delete 3 jobs``.
        yes: Whether the command line confirms it already.

    Raises:
        click.UsageError: if it does not, and there is no terminal to ask at.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"this would {action}: confirm with --yes")
    return click.confirm(f"{action[:1].upper()}{action[1:]}?", err=True)
