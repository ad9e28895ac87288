"""``taskserver dead``: list, export, requeue and delete dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taskserver.cli.confirm import confirm
from taskserver.cli.connecting import with_inspector
from taskserver.cli.groups import SuggestingGroup
from taskserver.cli.jobview import job_data, note_cut, show_causes, show_dead, show_job
from taskserver.cli.options import error_filter, json_option, limit_option, queue_filter, tool_filter, yes_option
from taskserver.cli.output import line_writer
from taskserver.cli.progress import progress_bar
from taskserver.cli.screen import note, show_json, show_text
from taskserver.observability.phrases import count
from taskserver.observability.printable import json_text

if TYPE_CHECKING:
    from taskserver.admin import Inspector

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=SuggestingGroup)
def dead() -> None:
    """List, export, requeue and delete dead letters: jobs whose attempts are used up."""


def selection(command: F) -> F:
    """The arguments that select dead letters: ids, or --all with filters."""
    for decorate in (
        error_filter,
        tool_filter,
        queue_filter,
        click.option("--all", "all_", is_flag=True, help="All that match the filters."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = decorate(command)
    return command


@dead.command("list")
@queue_filter
@tool_filter
@error_filter
@click.option("--group", is_flag=True, help="Count all of them by tool and error instead.")
@limit_option()
@json_option
@with_inspector
async def list_(inspector: Inspector, *, group: bool, limit: int, as_json: bool, **filters: Any) -> None:
    """List the newest dead letters of each queue, with their errors."""
    if group:
        causes = await inspector.causes(**filters)
        show_causes(causes[:limit], as_json)
        if len(causes) > limit:
            note_cut(limit, "cause", len(causes))
        return
    found = [letter async for letter in inspector.dead_letters(**filters, limit=limit + 1, brief=not as_json)]
    shown = found[:limit]
    show_json([job_data(each) for each in shown]) if as_json else show_dead(shown, "no dead letters")
    if len(found) > limit:
        filtered = filters["tool"] or filters["error"]
        note_cut(limit, "dead letter", None if filtered else await inspector.count_dead_letters(filters["queue"]))


@dead.command()
@queue_filter
@tool_filter
@error_filter
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="Write to FILE, not to stdout.")
@with_inspector
async def export(inspector: Inspector, *, output: str | None, **filters: Any) -> None:
    """Print dead letters as JSON lines.

    Each line holds one letter with all its fields. The letters are kept. FILE is written as a whole or not at all.
    """
    total = await inspector.count_dead_letters(filters.get("queue"))
    done = 0
    with line_writer(output) as write, progress_bar() as show_progress:
        async for letter in inspector.dead_letters(**filters):
            write(json_text(job_data(letter), 0))
            done += 1
            show_progress("exporting", done, None if any(filters.values()) else total)
    note(f"{count(done, 'dead letter')} exported")


@dead.command()
@click.argument("job_id", metavar="ID")
@json_option
@with_inspector
async def show(inspector: Inspector, *, job_id: str, as_json: bool) -> None:
    """Show one dead letter with its arguments, error and history."""
    letter = await inspector.dead_letter(job_id)
    show_json(job_data(letter)) if as_json else show_job(letter)


@dead.command()
@selection
@json_option
@with_inspector
async def requeue(inspector: Inspector, *, ids: tuple[str, ...], all_: bool, as_json: bool, **filters: Any) -> None:
    """Run dead letters again: those with these IDs, or --all.

    If TASKSERVER_SIGNING_KEYS is set, letters signed with one of these keys are signed again; others are skipped.
    """
    selected = await _checked(inspector, ids, all_, filters)
    done = await inspector.requeue(selected, everything=all_, **filters)
    show_json({"requeued": done.queued}) if as_json else show_text(f"{count(done.queued, 'dead letter')} queued again")
    if done.unsigned:
        note(f"{count(done.unsigned, 'dead letter')} skipped: not signed with a known key; submit those jobs anew")


@dead.command()
@selection
@yes_option
@json_option
@with_inspector
async def purge(
    inspector: Inspector, *, ids: tuple[str, ...], all_: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    """Delete dead letters: those with these IDs, or --all."""
    selected = await _checked(inspector, ids, all_, filters)
    if selected is None:  # so that only those are deleted that were counted before the question
        selected = [letter.id async for letter in inspector.dead_letters(**filters, brief=True)]
    deleted = 0
    if selected and confirm(f"delete {count(len(selected), 'dead letter')} for good", yes):
        deleted = await inspector.delete_dead_letters(selected)
    show_json({"purged": deleted}) if as_json else show_text(f"{count(deleted, 'dead letter')} deleted")


async def _checked(inspector: Inspector, ids: tuple[str, ...], all_: bool, filters: dict[str, Any]) -> list[str] | None:
    """The ids of the command line, each of a dead letter; None for --all.

    Raises:
        click.UsageError: unless either ids or --all are given.
        JobNotFound, JobConflict: for an id that is not a dead letter's.
    """
    if bool(ids) == all_ or (ids and any(filters.values())):
        raise click.UsageError("select dead letters by their ids, or by --all (with --queue, --tool or --error)")
    return None if all_ else [(await inspector.dead_letter(each)).id for each in dict.fromkeys(ids)]
