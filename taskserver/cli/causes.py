"""What dead letters died of, counted by tool and kind of error."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import NamedTuple

from taskserver.cli.jobview import summary
from taskserver.cli.screen import Column, show_json, show_table
from taskserver.domain.job import JobStatus
from taskserver.observability.phrases import age


class Cause(NamedTuple):
    """A tool and an error's type, how many died of it, and the newest of them."""

    tool: str
    error: str
    number: int
    newest: JobStatus


async def causes(letters: AsyncIterable[JobStatus]) -> list[Cause]:
    """The letters by cause, the most frequent first; they are only counted, so there may be any number."""
    found: dict[tuple[str, str], Cause] = {}
    async for letter in letters:
        kind = (letter.tool, letter.error.type if letter.error else "")
        known = found.get(kind) or Cause(*kind, 0, letter)
        newest = max(known.newest, letter, key=lambda each: each.ended_at or 0.0)
        found[kind] = known._replace(number=known.number + 1, newest=newest)
    return sorted(found.values(), key=lambda cause: -cause.number)


def show_causes(found: Sequence[Cause], limit: int, as_json: bool) -> None:
    """Print the first ``limit`` causes."""
    shown = found[:limit]
    if as_json:
        show_json([cause._asdict() | {"newest": cause.newest.id} for cause in shown])
        return
    columns = [
        Column("NUMBER", right=True),
        Column("TOOL"),
        Column("ERROR"),
        Column("NEWEST"),
        Column("SAYS", gives=True),
    ]
    show_table(columns, map(_row, shown), "no dead letters")


def _row(cause: Cause) -> tuple[object, ...]:
    newest = cause.newest
    return f"{cause.number:,}", cause.tool, cause.error, age(newest.ended_at, roughly=True), summary(newest.error)
