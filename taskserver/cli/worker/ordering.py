"""``taskserver worker stop``, ``restart`` and ``scale``: orders that go over the broker to workers on any machine."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import click

from taskserver.cli.connecting import connected
from taskserver.cli.param_types import Duration
from taskserver.cli.screen import note, show_text
from taskserver.cli.worker.choosing import Choice, choice_options
from taskserver.client.client import Client
from taskserver.domain.fleet import Action, FleetCommand, check_replicas
from taskserver.errors import ConfigError, WorkersUnchanged
from taskserver.observability.phrases import count
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.control import send_command
from taskserver.store.queries.workers import WorkerInfo, list_workers

LOOK_SECONDS = 0.2
REPEAT_SECONDS = 2.0
"""After so long an order is said again: it may have been lost."""

Left = Callable[[list[WorkerInfo]], int]
"""Of the workers that are there now: how many changes are still to come."""

names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")
all_option = click.option("--all", "-a", "everyone", is_flag=True, help="All workers of this broker.")
timeout_option = click.option(
    "--timeout", type=Duration(), default=120, metavar="SECONDS", help="How long to wait for it. [default: 120]"
)
no_wait_option = click.option("--no-wait", is_flag=True, help="Do not wait until it is done.")


@click.command()
@names_argument
@all_option
@choice_options
@click.option("--now", is_flag=True, help="Do not let running jobs go on: other workers get them.")
@timeout_option
@no_wait_option
@connected
async def stop(client: Client, *, names: tuple[str, ...], now: bool, **given: Any) -> None:
    """Let workers take no more jobs, finish those that run, and end.

    NAME is a task server, a supervisor or a single worker, as taskserver worker status shows them. Jobs that still run
    after the workers' grace period go to other workers.
    """
    broker = await client.connect()
    chosen = await _chosen(broker, names, given)
    gone = {each.name for each in chosen}
    orders = _orders(Action.HURRY if now else Action.STOP, chosen, names, given)

    def left(there: list[WorkerInfo]) -> int:
        return len(gone & {each.name for each in there})

    await _carry_out(broker, chosen, orders, left, "to stop", given)
    show_text(f"{count(len(gone), 'worker')} {'told to stop' if given['no_wait'] else 'stopped'}")


@click.command()
@names_argument
@all_option
@choice_options
@timeout_option
@no_wait_option
@connected
async def restart(client: Client, *, names: tuple[str, ...], **given: Any) -> None:
    """Replace workers one after the other.

    Each new one is ready before the old one drains. Only a supervisor can do that: start workers with
    --replicas 2 or more, or with --daemon.
    """
    broker = await client.connect()
    chosen = await _chosen(broker, names, given)
    _require_supervisors(chosen, "replace")
    gone = {each.name for each in chosen}

    def left(there: list[WorkerInfo]) -> int:
        return len(gone & {each.name for each in there})

    await _carry_out(broker, chosen, _orders(Action.RESTART, chosen, names, given), left, "to be replaced", given)
    show_text(f"{count(len(gone), 'worker')} {'told to restart' if given['no_wait'] else 'replaced'}")


@click.command()
@click.argument("replicas", type=int, metavar="N")
@click.argument("name", required=False)
@choice_options
@timeout_option
@no_wait_option
@connected
async def scale(client: Client, *, replicas: int, name: str | None, **given: Any) -> None:
    """Change how many replicas a running supervisor keeps.

    NAME is its own or its task server's; it can be left out if there is only one.
    """
    check_replicas(replicas)
    broker = await client.connect()
    names = (name,) if name else ()
    chosen = await _chosen(broker, names, {"everyone": True, **given})
    _require_supervisors(chosen, "add to")
    supervisors = sorted({each.command_target for each in chosen})
    if len(supervisors) > 1:
        raise ConfigError(f"there are {len(supervisors)} supervisors: name one of {', '.join(supervisors)}")
    before = {each.name for each in await list_workers(broker) if each.supervisor == supervisors[0]}
    order = FleetCommand(id=secrets.token_hex(8), action=Action.SCALE, whom=supervisors[0], replicas=replicas)

    def left(there: list[WorkerInfo]) -> int:
        now = [each for each in there if each.supervisor == supervisors[0]]
        return abs(replicas - len(now))

    await _carry_out(broker, chosen, [order], left, "to come or go", given)
    show_text(f"{supervisors[0]}: {count(len(before), 'replica')} before, {count(replicas, 'replica')} now")


async def _chosen(broker: Broker, names: tuple[str, ...], given: dict[str, Any]) -> list[WorkerInfo]:
    """The workers that a command is about; it must say of itself that it means all."""
    if not names and not (given.get("everyone") or given["host"] or given["queue"]):
        raise click.UsageError("which workers? Name them, or say --host, --queue or --all")
    return Choice(names, given["host"], given["queue"]).checked(await list_workers(broker))


def _require_supervisors(chosen: list[WorkerInfo], what: str) -> None:
    alone = [each.name for each in chosen if not each.supervisor]
    if alone:
        raise ConfigError(
            f"worker {alone[0]} has no supervisor that could {what} it: start it with --replicas 2 or more, or with "
            "--daemon; or stop it, and let your service manager start it again"
        )


def _orders(
    action: Action, chosen: list[WorkerInfo], names: tuple[str, ...], given: dict[str, Any]
) -> list[FleetCommand]:
    """One order for each supervisor, or for each worker that is named itself or has none."""
    whom = {each.name if each.name in names else each.command_target: None for each in chosen}
    return [FleetCommand(id=secrets.token_hex(8), action=action, whom=each) for each in whom]


async def _carry_out(
    broker: Broker, chosen: list[WorkerInfo], orders: list[FleetCommand], left: Left, what: str, given: dict[str, Any]
) -> None:
    """Give the orders, again and again, until nothing is left to be done.

    Raises:
        WorkersUnchanged: if that takes too long.
    """
    deadline = time.monotonic() + given["timeout"]
    said, told = 0.0, -1
    while True:
        if time.monotonic() - said > REPEAT_SECONDS:
            said = time.monotonic()
            await _say(broker, chosen, orders)
        if given["no_wait"]:
            return
        waiting = left(await list_workers(broker))
        if not waiting:
            return
        if waiting != told:
            told = waiting
            note(f"waiting for {count(waiting, 'worker')} {what}")
        if time.monotonic() > deadline:
            raise WorkersUnchanged(
                f"{count(waiting, 'worker')} still {what} after {given['timeout']:g} s; see their log"
            )
        await asyncio.sleep(LOOK_SECONDS)


async def _say(broker: Broker, chosen: list[WorkerInfo], orders: list[FleetCommand]) -> None:
    for order in orders:
        through = next(each for each in chosen if order.whom in (each.name, each.supervisor))
        await send_command(broker, through.queues[0], order)
