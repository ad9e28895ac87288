"""``taskserver queue``: look at queues, pause, resume, empty or grow them."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from taskserver.cli.asking import confirmed
from taskserver.cli.connecting import connected
from taskserver.cli.lazy import SuggestingGroup
from taskserver.cli.options import json_option, yes_option
from taskserver.cli.screen import Column, Styled, show_json, show_table, show_text
from taskserver.client.client import Client
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.names import check_queue_name, did_you_mean
from taskserver.domain.partitions import MOST_PARTITIONS
from taskserver.errors import ConfigError
from taskserver.observability.phrases import count, duration
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin
from taskserver.store.maintenance.partitioning import set_count
from taskserver.store.queries import partitions, queues
from taskserver.store.queries.queues import QueueInfo

name_argument = click.argument("name")


@click.group(cls=SuggestingGroup)
def queue() -> None:
    """Look at queues, pause, resume, empty or grow them."""


@queue.command("list")
@click.option("--partitions", "each", is_flag=True, help="Each partition by itself.")
@json_option
@connected
async def list_(client: Client, *, each: bool, as_json: bool) -> None:
    """Every queue: what waits, what runs and who works on it."""
    found = await _found(await client.connect(), each=each)
    if as_json:
        show_json([asdict(info) for info in found])
        return
    lanes = [RETURNED, *LANES] if any(info.ready[RETURNED] for info in found) else list(LANES)
    several = any(info.partitions > 1 for info in found)
    numbers = (*lanes, "running", "delayed", "dead", "oldest", "workers", *(["partitions"] if several else []))
    columns = [Column("QUEUE"), *(Column(name.upper(), right=True) for name in numbers)]
    show_table(columns, (_row(info, lanes, several) for info in found), "no queues yet: the first job makes one")


@queue.command()
@name_argument
@json_option
@connected
async def pause(client: Client, *, name: str, as_json: bool) -> None:
    """Let no worker take jobs from a queue; those that run go on."""
    broker = await client.connect()
    for each in await _parts(broker, name):
        await admin.pause(broker, each)
    show_json({"name": name, "paused": True}) if as_json else show_text(f"queue {name} is paused")


@queue.command()
@name_argument
@json_option
@connected
async def resume(client: Client, *, name: str, as_json: bool) -> None:
    """Let workers take jobs from a paused queue again."""
    broker = await client.connect()
    for each in await _parts(broker, name):
        await admin.resume(broker, each)
    show_json({"name": name, "paused": False}) if as_json else show_text(f"queue {name} goes on")


@queue.command()
@name_argument
@yes_option
@json_option
@connected
async def purge(client: Client, *, name: str, yes: bool, as_json: bool) -> None:
    """Cancel every job that waits in a queue; those that run go on."""
    broker = await client.connect()
    parts = await _parts(broker, name)
    found = await queues.overall(broker, name, parts)
    waiting = sum(found.ready.values()) + found.delayed
    gone = 0
    if waiting and confirmed(f"cancel {count(waiting, 'waiting job')} of queue {name}", yes):
        gone = sum([await admin.purge(broker, each) for each in parts])
    show_json({"name": name, "cancelled": gone}) if as_json else show_text(f"{count(gone, 'job')} cancelled")


@queue.command("partitions")
@name_argument
@click.argument("number", metavar="[N]", required=False, type=click.IntRange(1, MOST_PARTITIONS))
@json_option
@connected
async def partitions_(client: Client, *, name: str, number: int | None, as_json: bool) -> None:
    """Show how many partitions a queue has, or let it grow to N.

    Workers take jobs from new partitions within seconds, and clients submit to them within a minute. A queue can grow
    while it is used, but not shrink.
    """
    broker = await client.connect()
    if number is not None:
        await set_count(broker, check_queue_name(name), number)
    has = len(await _parts(broker, name))
    show_json({"name": name, "partitions": has}) if as_json else show_text(
        f"queue {name} has {count(has, 'partition')}"
    )


async def _found(broker: Broker, *, each: bool) -> list[QueueInfo]:
    known = await partitions.by_queue(broker)
    if each:
        return [await queues.info(broker, part) for parts in known.values() for part in parts]
    return [await queues.overall(broker, name, parts) for name, parts in known.items()]


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


async def _parts(broker: Broker, name: str) -> list[str]:
    """The partitions of a queue that is there; a pause of one that nobody uses would go unnoticed."""
    known = await partitions.by_queue(broker)
    if name not in known:
        raise ConfigError(f"no queue {name!r} at this broker{did_you_mean(name, known)}")
    return known[name]
