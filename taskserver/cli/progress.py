"""A progress bar for long commands, on stderr and only at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taskserver.cli.screen import console

ShowProgress = Callable[[str, int, int | None], None]
"""Gets what is being done, how much is done, and of how much (None if that is not known)."""


@contextmanager
def progress_bar() -> Iterator[ShowProgress]:
    """A function that shows progress, for as long as the block lasts."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(err=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)
