"""``taskserver queue``: list, pause, resume, empty and grow queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from taskserver.cli.confirm import confirm
from taskserver.cli.connecting import with_inspector
from taskserver.cli.groups import SuggestingGroup
from taskserver.cli.options import json_option, yes_option
from taskserver.cli.screen import Column, Styled, show_json, show_table, show_text
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.partitions import MOST_PARTITIONS
from taskserver.observability.phrases import count, duration

if TYPE_CHECKING:
    from taskserver.admin import Inspector, QueueInfo

name_argument = click.argument("name")


@click.group(cls=SuggestingGroup)
def queue() -> None:
    """List, pause, resume, empty and grow queues."""


@queue.command("list")
@click.option("--partitions", "each_partition", is_flag=True, help="List each partition by itself.")
@json_option
@with_inspector
async def list_(inspector: Inspector, *, each_partition: bool, as_json: bool) -> None:
    """List every queue with its jobs and workers."""
    found = await inspector.queues(each_partition=each_partition)
    if as_json:
        show_json([asdict(info) for info in found])
        return
    lanes = [RETURNED, *LANES] if any(info.ready[RETURNED] for info in found) else list(LANES)
    several = any(info.partitions > 1 for info in found)
    numbers = (*lanes, "running", "delayed", "dead", "oldest", "workers", *(["partitions"] if several else []))
    columns = [Column("QUEUE"), *(Column(name.upper(), right=True) for name in numbers)]
    show_table(columns, (_row(info, lanes, several) for info in found), "no queues yet: the first job creates one")


@queue.command()
@name_argument
@json_option
@with_inspector
async def pause(inspector: Inspector, *, name: str, as_json: bool) -> None:
    """Pause a queue; running jobs continue."""
    await inspector.pause(name)
    show_json({"name": name, "paused": True}) if as_json else show_text(f"queue {name} paused")


@queue.command()
@name_argument
@json_option
@with_inspector
async def resume(inspector: Inspector, *, name: str, as_json: bool) -> None:
    """Resume a paused queue."""
    await inspector.resume(name)
    show_json({"name": name, "paused": False}) if as_json else show_text(f"queue {name} resumed")


@queue.command()
@name_argument
@yes_option
@json_option
@with_inspector
async def purge(inspector: Inspector, *, name: str, yes: bool, as_json: bool) -> None:
    """Cancel every waiting job of a queue; running jobs continue."""
    found = await inspector.queue(name)
    waiting = sum(found.ready.values()) + found.delayed
    cancelled = 0
    if waiting and confirm(f"cancel {count(waiting, 'waiting job')} of queue {name}", yes):
        cancelled = await inspector.purge(name)
    show_json({"name": name, "cancelled": cancelled}) if as_json else show_text(f"{count(cancelled, 'job')} cancelled")


@queue.command("partitions")
@name_argument
@click.argument("number", metavar="[N]", required=False, type=click.IntRange(1, MOST_PARTITIONS))
@json_option
@with_inspector
async def partitions_(inspector: Inspector, *, name: str, number: int | None, as_json: bool) -> None:
    """Show how many partitions a queue has, or grow it to N.

    Workers take jobs from new partitions within seconds, and clients submit to them within a minute. A queue can grow
    while it is used, but not shrink.
    """
    if number is not None:
        await inspector.set_partitions(name, number)
    number = await inspector.partitions(name)
    if as_json:
        show_json({"name": name, "partitions": number})
    else:
        show_text(f"queue {name} has {count(number, 'partition')}")


def _row(info: QueueInfo, lanes: list[str], several: bool) -> list[object]:
    return [
        Styled(f"{info.name} (paused)", "yellow") if info.paused else info.name,
        *(f"{info.ready[lane]:,}" for lane in lanes),
        f"{info.running:,}",
        f"{info.delayed:,}",
        Styled(f"{info.dead:,}", "red" if info.dead else ""),
        "" if info.oldest_age is None else duration(info.oldest_age),
        len(info.workers),
        *([info.partitions] if several else []),
    ]
