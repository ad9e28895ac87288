"""What the demo prints: live on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from taskserver.demo.workers import LogTail
from taskserver.observability.printable import one_line

INDENT = 4


class StepResult(NamedTuple):
    """How a step went: its jobs, their attempts, the seconds, and what was checked or what went wrong."""

    jobs: int
    attempts: int
    seconds: float
    text: str
    ok: bool = True
    step: str = ""


class _Console(Console):
    """A console that raises if its reader is gone; rich would end the process at once."""

    def on_broken_pipe(self) -> NoReturn:
        """Print nothing from now on.

        Raises:
            BrokenPipeError: always.
        """
        self.quiet = True
        raise BrokenPipeError


class Display:
    """Prints the demo. What comes from files or jobs is printed as plain text, never as markup or control codes."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _Console(highlight=False)
        self._unicode = self.console.encoding.startswith("utf")

    def opening(self, facts: Mapping[str, str]) -> None:
        """Print the title, and what the demo runs on."""
        self._print(Text("taskserver demo: an agent submits work to worker processes", style="bold"))
        self._print()
        for name, fact in facts.items():
            self._print(Text.assemble((f"{name:<9}", "cyan"), one_line(fact)), indent=2)

    def step(self, number: int, title: str, description: str) -> None:
        """Print the heading of a step."""
        self._print()
        self._print(Text.assemble((f"{number:>2}  ", "cyan"), (title, "bold")))
        self._print(Text(description), indent=INDENT)

    def line(self, text: str) -> None:
        """Print one thing that happened."""
        self._print(Text(one_line(text), "dim", no_wrap=True, overflow="ellipsis"), indent=INDENT)

    def outcome(self, outcome: StepResult) -> None:
        """Print how the step went."""
        text = Text.assemble(self._mark(outcome.ok), " ", one_line(outcome.text))
        if outcome.ok:
            text.append(f"  {outcome.seconds:.2f} s", style="cyan")
        self._print(text, indent=INDENT)

    @contextmanager
    def bar(self) -> Iterator[Callable[[float, str], None]]:
        """Show a progress bar during the block; call the yielded function with a fraction and a text."""
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
        """Show a spinner and the time during the block."""
        columns = (
            TextColumn(" " * (INDENT - 1)),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            progress.add_task(text, total=None)
            yield

    def summary(self, outcomes: Sequence[StepResult]) -> None:
        """Print every step in one table."""
        table = Table(
            box=box.SIMPLE_HEAD if self._unicode else box.ASCII_DOUBLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
        )
        table.add_column("step", no_wrap=True)
        for name in ("jobs", "attempts", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("outcome")
        for each in outcomes:
            text = Text.assemble(self._mark(each.ok), " ", one_line(each.text))
            table.add_row(each.step, f"{each.jobs or ''}", f"{each.attempts or ''}", f"{each.seconds:.2f} s", text)
        self._print()
        with self.console.capture() as printed:
            self.console.print(table)
        for line in printed.get().splitlines():
            if line.strip():  # the frame has blank lines and trailing blanks
                self.console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)
        self._print()

    def end(self, sentence: str) -> None:
        """Print the last sentence."""
        self._print(Text(sentence))
        self._print()

    def next_steps(self, steps: Mapping[str, str]) -> None:
        """Print commands to try, by their purpose."""
        self._print(Text("Try it yourself:", style="bold"))
        for purpose, command in steps.items():
            self._print(Text(f"# {purpose}", style="dim"), indent=2)
            self.console.print(Text(f"  {command}", style="green"), soft_wrap=True)  # people copy it: never break it

    def failure(self, sentence: str, logs: Iterable[LogTail]) -> None:
        """Print what failed, and the ends of the workers' logs."""
        self._print(Text.assemble(self._mark(ok=False), " ", one_line(sentence)))
        for log in logs:
            self._print(Text(f"last lines of worker {log.pid}:", style="bold"))
            for line in log.lines:
                self.line(line)

    def _mark(self, ok: bool) -> Text:
        if ok:
            return Text("✓" if self._unicode else "ok", style="bold green")
        return Text("✗ failed:" if self._unicode else "failed:", style="bold red")

    def _print(self, text: Text | None = None, indent: int = 0) -> None:
        """Print on as many lines as the terminal needs; into a pipe or file, on one."""
        if text is not None and not self.console.is_terminal:
            self.console.print(Text(" " * indent) + text, soft_wrap=True)
        else:
            self.console.print("" if text is None else Padding(text, (0, 0, 0, indent)))
