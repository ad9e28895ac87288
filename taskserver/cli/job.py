"""``taskserver job``: list, follow, cancel and retry jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from taskserver.cli.connecting import with_client, with_inspector
from taskserver.cli.groups import SuggestingGroup
from taskserver.cli.jobview import job_data, note_cut, show_job, show_jobs
from taskserver.cli.options import json_option, limit_option, queue_filter, tool_filter
from taskserver.cli.param_types import Duration
from taskserver.cli.results import failure_as_data, show_result
from taskserver.cli.screen import show_json, show_text
from taskserver.cli.stdout import write
from taskserver.domain.job import State
from taskserver.errors import JobConflict

if TYPE_CHECKING:
    from taskserver.admin import Inspector
    from taskserver.client.client import Client

job_argument = click.argument("job_id", metavar="ID")


@click.group(cls=SuggestingGroup)
def job() -> None:
    """List, follow, cancel and retry jobs."""


@job.command()
@job_argument
@json_option
@with_inspector
async def status(inspector: Inspector, *, job_id: str, as_json: bool) -> None:
    """Show a job's status, errors and history."""
    found = await inspector.job(job_id)
    show_json(job_data(found)) if as_json else show_job(found)


@job.command()
@job_argument
@click.option("--timeout", type=Duration(), help="Maximum time to wait. The job continues.")
@json_option
@with_client
async def result(client: Client, *, job_id: str, timeout: float | None, as_json: bool) -> None:
    """Wait until a job has ended, and print its result.

    Strings are printed as they are, other results as JSON.
    """
    with failure_as_data(job_id, as_json):
        show_result(job_id, await client.job(job_id).result(timeout), as_json)


@job.command()
@job_argument
@click.option(
    "--after", default="0", metavar="CURSOR", help="Start after the event with this cursor, which --json shows."
)
@json_option
@with_client
async def events(client: Client, *, job_id: str, after: str, as_json: bool) -> None:
    """Follow a job's progress and output until it has ended.

    With --json, each line is one object.
    """
    from taskserver.cli.following import print_events

    followed = client.job(job_id)
    if not as_json:
        await print_events(followed, lambda text: write(text, end=""), after)
        return
    async for event in followed.events(after):
        data = msgspec.structs.asdict(event)
        del data["inside_line"]  # only for print
        show_json(data, indent=0)


@job.command()
@job_argument
@json_option
@with_inspector
async def cancel(inspector: Inspector, *, job_id: str, as_json: bool) -> None:
    """Cancel a job; its worker stops it if it is running."""
    state = await inspector.cancel(job_id)
    if state.ended and state is not State.CANCELLED:
        raise JobConflict(job_id, f"job {job_id} has already ended: it is {state}")
    if as_json:
        show_json({"id": job_id, "state": state})
    else:
        show_text(f"job {job_id} cancelled" if state.ended else f"job {job_id} is {state}: its worker is ending it")


@job.command()
@job_argument
@json_option
@with_inspector
async def retry(inspector: Inspector, *, job_id: str, as_json: bool) -> None:
    """Run an ended job again, under the same id."""
    await inspector.retry(job_id)
    show_json({"id": job_id, "state": State.QUEUED}) if as_json else show_text(f"job {job_id} queued again")


@job.command("list")
@queue_filter
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only jobs in this state.")
@tool_filter
@click.option("--session-id", metavar="TEXT", help="Only jobs of this session.")
@click.option("--tag", metavar="TEXT", help="Only jobs with this tag.")
@limit_option()
@json_option
@with_inspector
async def list_(inspector: Inspector, *, limit: int, as_json: bool, **filters: Any) -> None:
    """List jobs, newest first."""
    found = await inspector.jobs(**filters, limit=limit + 1, brief=not as_json)
    shown = found[:limit]
    show_json([job_data(each) for each in shown]) if as_json else show_jobs(shown, "no matching jobs")
    if len(found) > limit:
        note_cut(limit, "job")
