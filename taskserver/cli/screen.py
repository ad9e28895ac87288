"""How everything is shown: data on stdout (``stdout.py``) as JSON, table, card or text; everything else on stderr.

Everything printed for people is first made harmless (``observability/printable.py``). Colours and the width
of the window matter only on a terminal: into a pipe everything goes in full and plain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from taskserver.cli.stdout import stdout, write
from taskserver.observability.printable import json_text, one_line, printable

UNBOUNDED = 100_000
"""Width where there is no terminal: nothing is cut or wrapped."""
GAP = "  "
LEAST = 10
"""Least width of a cell that is cut short."""


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        name: Its head.
        right: Whether its cells are numbers.
        shrinks: Whether it is cut short if the terminal is too narrow; other columns keep their width.
    """

    name: str
    right: bool = False
    shrinks: bool = False


class Styled(NamedTuple):
    """A cell or value in a style of rich, such as ``red`` or ``dim``."""

    text: str
    style: str


def show_json(value: Any, indent: int = 2) -> None:
    """Print data as JSON on stdout; on one line if ``indent`` is 0."""
    write(json_text(value, indent))


def show_text(text: str, *, end: str = "\n") -> None:
    """Print text on stdout."""
    write(printable(text), end=end)


def note(text: str) -> None:
    """Print something that is not the command's data, on stderr."""
    click.echo(printable(text), err=True)


def show_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table on stdout, or on stderr that there is nothing to show.

    Args:
        columns: From left to right.
        rows: The cells of each row: anything that has a string form, or ``Styled``.
        empty: The message if there are no rows.
    """
    cells = [[_text(cell, one_line) for cell in row] for row in rows]
    if not cells:
        note(empty)
        return
    head = [Text(column.name, style="bold") for column in columns]
    out = console()
    widths = _widths(columns, [head, *cells], out.width)
    for row in (head, *cells):
        for cell, column, width in zip(row, columns, widths, strict=True):
            cell.truncate(width, overflow="ellipsis")
            cell.align("right" if column.right else "left", width)
        _show(Text(GAP).join(row), out)


def show_card(lines: Iterable[tuple[str, object]]) -> None:
    """Print labels and values of one thing on stdout; values may have several lines, and None is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in lines:
        if value is not None and value != "":
            grid.add_row(label, _text(value, printable))
    _show(grid, console())


def console(*, err: bool = False) -> Console:
    """Rich's console on stdout or stderr; no text is taken for markup, and only terminals have a width."""
    stream = sys.stderr if err else stdout()
    width = None if stream.isatty() else UNBOUNDED
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _show(what: RenderableType, out: Console) -> None:
    with out.capture() as captured:
        out.print(what, no_wrap=isinstance(what, Text), crop=False)
    for line in captured.get().splitlines():
        write(line.rstrip(), color=True)  # rich has decided about colours


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]], room: int) -> list[int]:
    """The width of each column: that of its widest cell, or less where a column shrinks."""
    widths = [max(row[position].cell_len for row in rows) for position in range(len(columns))]
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - room
    shrinking = [position for position, column in enumerate(columns) if column.shrinks]
    while excess > 0 and shrinking:
        widest = max(shrinking, key=widths.__getitem__)
        if widths[widest] <= LEAST:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _text(value: object, clean: Any) -> Text:
    if isinstance(value, Styled):
        return Text(clean(value.text), style=value.style)
    return Text(clean("" if value is None else str(value)))
