"""``taskserver submit``: submit a tool call, and optionally wait for its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from taskserver.cli.connecting import with_client
from taskserver.cli.options import json_option, tools_option
from taskserver.cli.param_types import Duration
from taskserver.cli.results import failure_as_data, show_result
from taskserver.cli.screen import note, show_json, show_text
from taskserver.domain.job import ON_EXISTING

if TYPE_CHECKING:
    from taskserver.client.client import Client

EXAMPLES = """\b
Examples:
  taskserver submit summarize url=https://example.org max_words=50
  taskserver submit summarize '{"url": "https://example.org"}' --wait"""


def _priority(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    return int(value) if value and value.isdecimal() else value


@click.command(epilog=EXAMPLES)
@click.argument("tool")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]... | JSON")
@click.option("--wait", "-w", is_flag=True, help="Follow the job on stderr and print its result.")
@click.option("--timeout", type=Duration(), help="Maximum time to wait. The job continues.")
@click.option("--queue", "-q", metavar="NAME", help="Queue to submit to. [default: the tool's own]")
@click.option("--priority", callback=_priority, help="1 (most urgent) to 10, or high, normal, low.", metavar="PRIORITY")
@click.option("--delay", type=Duration(), help="Earliest start, counted from now.")
@click.option("--idempotency-key", metavar="KEY", help="The same key in the same queue is the same job.")
@click.option(
    "--on-existing",
    type=click.Choice(ON_EXISTING),
    help="What to do if the job with this key has already ended: return it, rerun it, or raise an error. "
    "[default: return]",
)
@click.option("--job-timeout", type=Duration(), help="Maximum time of one attempt.")
@click.option("--max-retries", type=int, metavar="N", help="Number of attempts after the first.")
@click.option("--expires", type=Duration(), help="Expire the job if it has not started within this time.")
@click.option("--result-ttl", type=Duration(), help="How long to keep the record after the job has ended.")
@click.option("--session-id", metavar="TEXT", help="A label of your own for grouping related jobs.")
@click.option("--tag", "tags", multiple=True, metavar="TEXT", help="Another such label; repeatable.")
@tools_option
@json_option
@with_client
async def submit(
    client: Client,
    *,
    tool: str,
    arguments: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    modules: tuple[str, ...],
    as_json: bool,
    job_timeout: float | None,
    **options: Any,
) -> None:
    """Submit a call of TOOL and print the job's id.

    A value that is valid JSON is taken as JSON, any other as text. With --tools, the tool's own types decide, and its
    name and arguments are checked before anything is sent.
    """
    from taskserver.cli.calls import explaining_guesses, submit_call
    from taskserver.cli.following import follow

    if timeout is not None and not wait:
        raise click.UsageError("--timeout requires --wait; to limit one attempt, use --job-timeout")
    job = await submit_call(client, tool, arguments, modules, {**options, "timeout": job_timeout})
    if job.existed is not None:
        again = "it runs again" if options["on_existing"] == "rerun" and job.existed.ended else f"it is {job.existed}"
        note(f"job {job.id} was submitted before with this key: {again}")
    if not wait:
        shown = {"id": job.id, "idempotency_key": options["idempotency_key"], "existed": job.existed}
        show_json(shown) if as_json else show_text(job.id)
        return
    note(f"job {job.id}")
    with failure_as_data(job.id, as_json), explaining_guesses(() if modules else arguments):
        show_result(job.id, await follow(job, timeout), as_json)
