"""Following a job: its progress and output are shown as they arrive."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from taskserver.aio import cancel_and_wait
from taskserver.cli.screen import console
from taskserver.client.job import Job
from taskserver.domain.events import Event, EventKind
from taskserver.errors import ResultTimeout
from taskserver.observability.printable import one_line, printable


class Bar:
    """Shows progress as a bar at the bottom of the terminal, and output above it, line by line."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console(err=True),
            transient=True,
        )
        self._stack = ExitStack()
        self._task = self._progress.add_task("waiting", total=1.0)
        self._rest = ""

    def __enter__(self) -> Self:
        self._stack.enter_context(self._progress)
        return self

    def __exit__(self, *_: object) -> None:
        if self._rest:
            self._progress.console.print(Text(self._rest))
        self._stack.close()

    def show(self, event: Event) -> None:
        """Show one event."""
        again = f"attempt {event.attempt}: " if event.attempt > 1 else ""
        if event.kind is EventKind.PROGRESS:
            text = (again + one_line(event.text)) or "running"
            self._progress.update(self._task, completed=event.progress or 0.0, description=text[:40])
            return
        apart = "\n" if event.kind is not EventKind.OUTPUT and self._rest else ""
        *lines, self._rest = (self._rest + apart + printable(event.text)).split("\n")
        for line in lines:
            self._progress.console.print(Text(line))


async def follow(job: Job[Any], timeout: float | None) -> Any:
    """Show a job's progress and output on stderr until it has ended, and return its result.

    Args:
        job: Which.
        timeout: Seconds to wait at most; None for no limit.

    Raises:
        ResultTimeout: if it has not ended by then.
        JobError: if it has ended without a result, as ``Job.result``.
    """
    showing = asyncio.create_task(_show_until_ended(job))
    try:
        await asyncio.wait((showing,), timeout=timeout)
        if not showing.done():
            raise ResultTimeout(job.id, timeout or 0)
        return showing.result()
    finally:
        await cancel_and_wait(showing)


async def print_events(job: Job[Any], write: Callable[[str], object], after: str = "0") -> None:
    """Print a job's events as text, after the cursor ``after`` until the job has ended."""
    inside_line = False

    def show(event: Event) -> None:
        nonlocal inside_line
        if text := printable(str(event)):
            write(text)
            inside_line = not text.endswith("\n")

    try:
        await _each(job, show, after)
    finally:
        if inside_line:
            write("\n")


async def _show_until_ended(job: Job[Any]) -> Any:
    if sys.stderr.isatty():
        with Bar() as bar:
            await _each(job, bar.show)
    else:
        await print_events(job, lambda text: click.echo(text, nl=False, err=True))
    return await job.result()


async def _each(job: Job[Any], show: Callable[[Event], None], after: str = "0") -> None:
    async for event in job.events(after):
        show(event)
