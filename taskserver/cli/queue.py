"""``taskserver queue``: look at queues, pause, resume or empty them."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from taskserver.cli.asking import confirmed
from taskserver.cli.connecting import connected
from taskserver.cli.lazy import SuggestingGroup
from taskserver.cli.options import json_option, yes_option
from taskserver.cli.phrases import count, duration
from taskserver.cli.screen import Column, Styled, show_json, show_table, show_text
from taskserver.client.client import Client
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError
from taskserver.store import queues, steering
from taskserver.store.connection import Broker
from taskserver.store.queues import QueueInfo

name_argument = click.argument("name")


@click.group(cls=SuggestingGroup)
def queue() -> None:
    """Look at queues, pause, resume or empty them."""


@queue.command("list")
@json_option
@connected
async def list_(client: Client, *, as_json: bool) -> None:
    """Every queue: what waits, what runs and who works on it."""
    broker = await client.connect()
    found = [await queues.info(broker, name) for name in await queues.names(broker)]
    if as_json:
        show_json([asdict(each) for each in found])
        return
    lanes = [RETURNED, *LANES] if any(each.ready[RETURNED] for each in found) else list(LANES)
    numbers = (*lanes, "running", "delayed", "dead", "oldest", "workers")
    columns = [Column("QUEUE"), *(Column(name.upper(), right=True) for name in numbers)]
    show_table(columns, (_row(each, lanes) for each in found), "no queues yet: the first job makes one")


@queue.command()
@name_argument
@json_option
@connected
async def pause(client: Client, *, name: str, as_json: bool) -> None:
    """Let no worker take jobs from a queue; those that run go on."""
    broker = await client.connect()
    await steering.pause(broker, await _known(broker, name))
    show_json({"name": name, "paused": True}) if as_json else show_text(f"queue {name} is paused")


@queue.command()
@name_argument
@json_option
@connected
async def resume(client: Client, *, name: str, as_json: bool) -> None:
    """Let workers take jobs from a paused queue again."""
    broker = await client.connect()
    await steering.resume(broker, await _known(broker, name))
    show_json({"name": name, "paused": False}) if as_json else show_text(f"queue {name} goes on")


@queue.command()
@name_argument
@yes_option
@json_option
@connected
async def purge(client: Client, *, name: str, yes: bool, as_json: bool) -> None:
    """Cancel every job that waits in a queue; those that run go on."""
    broker = await client.connect()
    found = await queues.info(broker, await _known(broker, name))
    waiting = sum(found.ready.values()) + found.delayed
    gone = 0
    if waiting and confirmed(f"cancel {count(waiting, 'waiting job')} of queue {name}", yes):
        gone = await steering.purge(broker, name)
    show_json({"name": name, "cancelled": gone}) if as_json else show_text(f"{count(gone, 'job')} cancelled")


def _row(info: QueueInfo, lanes: list[str]) -> list[object]:
    return [
        Styled(f"{info.name} (paused)", "yellow") if info.paused else info.name,
        *(f"{info.ready[lane]:,}" for lane in lanes),
        f"{info.running:,}",
        f"{info.delayed:,}",
        Styled(f"{info.dead:,}", "red" if info.dead else ""),
        "" if info.oldest_age is None else duration(info.oldest_age),
        len(info.workers),
    ]


async def _known(broker: Broker, name: str) -> str:
    """The name of a queue that is there; a pause of one that nobody uses would go unnoticed."""
    known = await queues.names(broker)
    if name not in known:
        raise ConfigError(f"no queue {name!r} at this broker{did_you_mean(name, known)}")
    return name
