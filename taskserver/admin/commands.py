"""Carrying out a change of workers: commands are repeated until the workers are seen to have changed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskserver.domain.fleet import Action, FleetCommand
from taskserver.errors import WorkersUnchanged
from taskserver.observability.phrases import count
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.control import send_command
from taskserver.store.queries.workers import WorkerInfo, list_workers

LOOK_SECONDS = 0.2
REPEAT_SECONDS = 2.0
"""After this a command is sent again: it may have been lost."""

Waiting = Callable[[int], object]
"""Called with the number of workers that still have to change, whenever that number changes."""


class Change(NamedTuple):
    """A change of some workers.

    Attributes:
        workers: The workers that it concerns.
        commands: The commands that cause it.
        remaining: Given the live workers, how many still have to change.
        what: What the workers do, such as ``to stop``; for messages.
    """

    workers: Sequence[WorkerInfo]
    commands: Sequence[FleetCommand]
    remaining: Callable[[Sequence[WorkerInfo]], int]
    what: str


def departure(action: Action, workers: Sequence[WorkerInfo], names: Sequence[str], what: str) -> Change:
    """The change after which all of these workers are gone.

    There is one command for each supervisor, and for each worker that is named itself or has no supervisor.
    """
    leaving = {each.name for each in workers}
    receivers = {each.name if each.name in names else each.command_target: None for each in workers}
    commands = [FleetCommand(id=secrets.token_hex(8), action=action, whom=each) for each in receivers]
    return Change(workers, commands, lambda there: len(leaving & {each.name for each in there}), what)


def scaling(replicas: int, supervisor: str, workers: Sequence[WorkerInfo]) -> Change:
    """The change after which a supervisor keeps this number of replicas."""
    command = FleetCommand(id=secrets.token_hex(8), action=Action.SCALE, whom=supervisor, replicas=replicas)

    def remaining(there: Sequence[WorkerInfo]) -> int:
        return abs(replicas - sum(each.supervisor == supervisor for each in there))

    return Change(workers, [command], remaining, "to come or go")


async def send(broker: Broker, change: Change) -> None:
    """Send the commands once."""
    for command in change.commands:
        receiver = next(each for each in change.workers if command.whom in (each.name, each.supervisor))
        await send_command(broker, receiver.queues[0], command)


async def carry_out(broker: Broker, change: Change, timeout: float, waiting: Waiting | None) -> None:
    """Send the commands until no worker has to change any more.

    Raises:
        WorkersUnchanged: if that takes longer than ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    sent_at, reported = float("-inf"), 0
    while True:
        if time.monotonic() - sent_at > REPEAT_SECONDS:
            sent_at = time.monotonic()
            await send(broker, change)
        remaining = change.remaining(await list_workers(broker))
        if not remaining:
            return
        if waiting is not None and remaining != reported:
            waiting(remaining)
        reported = remaining
        if time.monotonic() > deadline:
            raise WorkersUnchanged(
                f"{count(remaining, 'worker')} still {change.what} after {timeout:g} s; see their log"
            )
        await asyncio.sleep(LOOK_SECONDS)
