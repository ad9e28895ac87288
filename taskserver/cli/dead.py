"""``taskserver dead``: look at dead letters, export them, run them again or delete them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar

import click

from taskserver.cli.asking import confirmed
from taskserver.cli.causes import causes, show_causes
from taskserver.cli.connecting import connected
from taskserver.cli.jobview import job_data, show_dead, show_job
from taskserver.cli.lazy import SuggestingGroup
from taskserver.cli.options import error_filter, json_option, limit_option, queue_filter, tool_filter, yes_option
from taskserver.cli.progress import shown_progress
from taskserver.cli.screen import note, show_json, show_text
from taskserver.cli.writing import written
from taskserver.client.client import Client
from taskserver.domain.ids import parse
from taskserver.domain.job import JobStatus, State
from taskserver.errors import JobConflict
from taskserver.observability.phrases import count
from taskserver.observability.printable import json_text
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin
from taskserver.store.queries import partitions
from taskserver.store.queries.search import JobFilter, count_dead, dead_letters

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=SuggestingGroup)
def dead() -> None:
    """Look at dead letters (jobs whose attempts are used up), export them, run them again or delete them."""


def selection(command: F) -> F:
    """The arguments that choose dead letters: ids, or --all with filters."""
    for decorate in (
        error_filter,
        tool_filter,
        queue_filter,
        click.option("--all", "all_", is_flag=True, help="All that the filters let through."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = decorate(command)
    return command


@dead.command("list")
@queue_filter
@tool_filter
@error_filter
@click.option("--group", is_flag=True, help="Count them by tool and error instead, all of them.")
@limit_option()
@json_option
@connected
async def list_(client: Client, *, group: bool, limit: int, as_json: bool, **filters: str | None) -> None:
    """The newest dead letters of each queue, and what they died of."""
    if group:
        show_causes(await causes(_letters(client, **filters)), limit, as_json)
        return
    found: list[JobStatus] = []
    async for letter in _letters(client, **filters):
        found.append(letter)
        if len(found) == limit:
            break
    show_json([job_data(each) for each in found]) if as_json else show_dead(found, "no dead letters")


@dead.command()
@queue_filter
@tool_filter
@error_filter
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="Write there instead of stdout.")
@connected
async def export(client: Client, *, output: str | None, **filters: str | None) -> None:
    """Print dead letters as JSON lines.

    One letter a line, with all that is known of it. They stay where they are. A FILE is there whole or not at all.
    """
    total = await count_dead(await client.connect(), await _places(client, filters.get("queue")))
    done = 0
    with written(output) as write, shown_progress() as tell:
        async for letter in _letters(client, **filters):
            write(json_text(job_data(letter), 0))
            done += 1
            tell("exporting", done, None if any(filters.values()) else total)
    note(f"{count(done, 'dead letter')} exported")


@dead.command()
@click.argument("job_id", metavar="ID")
@json_option
@connected
async def show(client: Client, *, job_id: str, as_json: bool) -> None:
    """One dead letter with its arguments, errors and history."""
    letter = await _letter(client, job_id)
    show_json(job_data(letter)) if as_json else show_job(letter)


@dead.command()
@selection
@json_option
@connected
async def requeue(client: Client, *, ids: tuple[str, ...], all_: bool, as_json: bool, **filters: str | None) -> None:
    """Run dead letters again: those with these IDs, or --all.

    Where TASKSERVER_SIGNING_KEYS is set, they are signed anew, but only those that bear a signature of these keys.
    """
    chosen = await _chosen(client, ids, all_, filters)
    replies = Counter[str]()

    async def again(broker: Broker, queue: str, keys: Sequence[str]) -> int:
        found = await admin.requeue(broker, queue, keys, client.keyring)
        replies.update(found)
        return found.count("")

    done = await _in_batches(await client.connect(), chosen, again)
    show_json({"requeued": done}) if as_json else show_text(f"{count(done, 'dead letter')} queued again")
    if left := replies[admin.UNSIGNED]:
        note(f"{count(left, 'dead letter')} left: not signed with a key that is known here; submit those jobs anew")


@dead.command()
@selection
@yes_option
@json_option
@connected
async def purge(
    client: Client, *, ids: tuple[str, ...], all_: bool, yes: bool, as_json: bool, **filters: str | None
) -> None:
    """Delete dead letters: those with these IDs, or --all."""
    chosen = await _chosen(client, ids, all_, filters)
    gone = 0
    if chosen and confirmed(f"delete {count(len(chosen), 'dead letter')} for good", yes):
        gone = await _in_batches(await client.connect(), chosen, admin.delete_dead)
    show_json({"purged": gone}) if as_json else show_text(f"{count(gone, 'dead letter')} deleted")


async def _chosen(client: Client, ids: tuple[str, ...], all_: bool, filters: dict[str, str | None]) -> list[str]:
    """The ids that the command line chooses; each is of a dead letter.

    Raises:
        click.UsageError: unless either ids or --all are given.
        JobNotFound, JobConflict: for an id that is none of a dead letter.
    """
    if bool(ids) == all_ or (ids and any(filters.values())):
        raise click.UsageError("say which: either the ids, or --all (with --queue, --tool or --error to choose from)")
    if ids:
        return [(await _letter(client, each)).id for each in dict.fromkeys(ids)]
    return [letter.id async for letter in _letters(client, **filters)]


async def _letters(
    client: Client, queue: str | None = None, tool: str | None = None, error: str | None = None
) -> AsyncIterator[JobStatus]:
    wanted = JobFilter(State.DEAD, tool=tool, error=error)
    async for letter in dead_letters(await client.connect(), await _places(client, queue), wanted):
        yield letter


async def _places(client: Client, queue: str | None) -> list[str]:
    return await partitions.expand(await client.connect(), *([queue] if queue else []))


async def _letter(client: Client, job_id: str) -> JobStatus:
    status = await client.job(job_id).status()
    if status.state is not State.DEAD:
        raise JobConflict(job_id, f"job {job_id} is {status.state}, not a dead letter")
    return status


Act = Callable[[Broker, str, Sequence[str]], Awaitable[int]]


async def _in_batches(broker: Broker, ids: Sequence[str], act: Act) -> int:
    """Do something to jobs, batch by batch of each queue; to how many it happened."""
    done = 0
    for queue, places in groupby(sorted(map(parse, ids)), key=lambda place: place[0]):
        keys = (key for _, key in places)
        while batch := list(islice(keys, admin.BATCH)):
            done += await act(broker, queue, batch)
    return done
