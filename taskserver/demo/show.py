"""What the demo prints: live on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from taskserver.observability.printable import one_line

INDENT = 4


class Outcome(NamedTuple):
    """How an act went: jobs, their attempts, seconds, and what was checked, or what went wrong."""

    jobs: int
    attempts: int
    seconds: float
    told: str
    ok: bool = True
    step: str = ""


class _Console(Console):
    """A console that tells like any stream when nobody reads any more; rich ends the process on the spot."""

    def on_broken_pipe(self) -> NoReturn:
        """Print nothing from now on.

        Raises:
            BrokenPipeError: always.
        """
        self.quiet = True
        raise BrokenPipeError


class Show:
    """Prints the play. Everything that comes from files or jobs is printed as text, never as markup or controls."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _Console(highlight=False)
        self._unicode = self.console.encoding.startswith("utf")

    def opening(self, facts: Iterable[tuple[str, str]]) -> None:
        """The title, and where the play takes place."""
        self._print(Text("taskserver demo: an agent hands work to worker processes", style="bold"))
        self._print()
        for name, fact in facts:
            self._print(Text.assemble((f"{name:<9}", "cyan"), one_line(fact)), indent=2)

    def act(self, number: int, title: str, shows: str) -> None:
        """The head of an act."""
        self._print()
        self._print(Text.assemble((f"{number:>2}  ", "cyan"), (title, "bold")))
        self._print(Text(shows), indent=INDENT)

    def line(self, text: str) -> None:
        """One thing that happened."""
        self._print(Text(one_line(text), "dim", no_wrap=True, overflow="ellipsis"), indent=INDENT)

    def outcome(self, outcome: Outcome) -> None:
        """How the act went."""
        said = Text.assemble(self._mark(outcome.ok), " ", one_line(outcome.told))
        if outcome.ok:
            said.append(f"  {outcome.seconds:.2f} s", style="cyan")
        self._print(said, indent=INDENT)

    @contextmanager
    def bar(self) -> Iterator[Callable[[float, str], None]]:
        """A progress bar for as long as the block; call what it gives with a fraction and a text."""
        columns = (
            TextColumn(" " * (INDENT - 1)),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            task = progress.add_task("", total=1.0)
            yield lambda fraction, text: progress.update(task, completed=fraction, description=one_line(text))

    @contextmanager
    def wait(self, text: str) -> Iterator[None]:
        """A sign of life while there is nothing to count."""
        columns = (
            TextColumn(" " * (INDENT - 1)),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            progress.add_task(text, total=None)
            yield

    def summary(self, outcomes: Sequence[Outcome]) -> None:
        """Every act in one table."""
        table = Table(
            box=box.SIMPLE_HEAD if self._unicode else box.ASCII_DOUBLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
        )
        table.add_column("step", no_wrap=True)
        for name in ("jobs", "attempts", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("outcome")
        for each in outcomes:
            told = Text.assemble(self._mark(each.ok), " ", one_line(each.told))
            table.add_row(each.step, f"{each.jobs or ''}", f"{each.attempts or ''}", f"{each.seconds:.2f} s", told)
        self._print()
        with self.console.capture() as printed:
            self.console.print(table)
        for line in printed.get().splitlines():
            if line.strip():  # the frame has blank lines, and blanks at the ends
                self.console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)
        self._print()

    def end(self, sentence: str) -> None:
        """The last word of a play that went well."""
        self._print(Text(sentence))
        self._print()

    def next_steps(self, steps: Iterable[tuple[str, str]]) -> None:
        """What to type next, each with its purpose."""
        self._print(Text("Next, by hand:", style="bold"))
        for purpose, command in steps:
            self._print(Text(f"# {purpose}", style="dim"), indent=2)
            self.console.print(Text(f"  {command}", style="green"), soft_wrap=True)  # to be copied: never broken

    def failure(self, sentence: str, logs: Iterable[tuple[str, list[str]]]) -> None:
        """What did not happen as told, and what the workers said last."""
        self._print(Text.assemble(self._mark(ok=False), " ", one_line(sentence)))
        for who, lines in logs:
            self._print(Text(f"the last lines of {who}:", style="bold"))
            for line in lines:
                self.line(line)

    def _mark(self, ok: bool) -> Text:
        if ok:
            return Text("✓" if self._unicode else "ok", style="bold green")
        return Text("✗ failed:" if self._unicode else "failed:", style="bold red")

    def _print(self, what: Text | Table | None = None, indent: int = 0) -> None:
        """Print on as many lines as the terminal needs; in a pipe or file, on one."""
        if isinstance(what, Text) and not self.console.is_terminal:
            self.console.print(Text(" " * indent) + what, soft_wrap=True)
        else:
            self.console.print("" if what is None else Padding(what, (0, 0, 0, indent)))
