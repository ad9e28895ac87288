"""Writes that are acknowledged only when they are on disk, on replicas, or both (``Durability``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from redis.exceptions import NoScriptError, ResponseError

from taskserver.domain.durability import Durability
from taskserver.errors import BrokerUnsuitable, NotReplicated
from taskserver.store.broker.connection import Broker
from taskserver.store.scripts import script

WAIT_SECONDS = 2.0
"""How long disk and replicas may take; a fraction of what a command may take to be answered."""


async def run_durably(broker: Broker, name: str, queue: str, *args: Any) -> Any:
    """``Broker.run`` that returns when what the script wrote is as durable as the broker was told to make it.

    WAIT and WAITAOF look at what their own connection has written last, so script and wait go out together.

    Raises:
        NotReplicated: if it is written, but disk or replicas did not confirm it in time.
        BrokerUnsuitable: if the server cannot do what is asked.
    """
    called, prefix, wanted = script(name), broker.keys(queue).prefix, broker.durability

    async def write_and_wait(client: Any) -> tuple[Any, Any]:
        await _check_word(broker, wanted, client)
        answers = await _pipeline(client, ("EVALSHA", called.sha, 1, prefix, *args), _wait(wanted))
        if isinstance(answers[0], NoScriptError):
            answers = await _pipeline(client, ("EVAL", called.text, 1, prefix, *args), _wait(wanted))
        return _checked(broker, wanted, answers)

    answer, confirmed = await broker.ask(prefix, write_and_wait)
    _confirm(broker, wanted, confirmed)
    return answer


async def confirm_earlier(broker: Broker, queue: str) -> None:
    """Make sure that what *earlier* calls wrote to a queue is durable: a job that is known may not be yet.

    Where nothing is written there is nothing to wait for, so something is: replication keeps the order.

    Raises:
        NotReplicated, BrokerUnsuitable: as ``run_durably``.
    """
    keys, wanted = broker.keys(queue), broker.durability

    async def touch_and_wait(client: Any) -> tuple[Any, Any]:
        await _check_word(broker, wanted, client)
        return _checked(broker, wanted, await _pipeline(client, ("HINCRBY", keys.meta, "touched", 1), _wait(wanted)))

    _, confirmed = await broker.ask(keys.prefix, touch_and_wait)
    _confirm(broker, wanted, confirmed)


async def _check_word(broker: Broker, wanted: Durability, client: Any) -> None:
    """Some servers say that the disk has what it has not, unless they write through (redis/redis#13793).

    Valkey 9.1 and Redis 7.4 answer WAITAOF as soon as nothing waits to be *written*, though up to a second of it waits
    to be synced. Seen by cutting the power: tests/faults/test_durability.py.
    """
    if not wanted.fsync or client in _word_kept:
        return
    info = await client.info("server")
    if "valkey_version" in info or str(info["redis_version"]).startswith("7.4."):
        policy = (await client.config_get("appendfsync")).get("appendfsync")
        if policy != "always":
            raise BrokerUnsuitable(
                f"the broker at {broker.shown} confirms its disk before the disk has the jobs (appendfsync {policy}): "
                "for durability=fsync set it with CONFIG SET appendfsync always, or use Redis 8"
            )
    _word_kept.add(client)


_word_kept: WeakSet[Any] = WeakSet()


async def _pipeline(client: Any, *commands: Sequence[Any]) -> list[Any]:
    async with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    return answers


def _wait(wanted: Durability) -> tuple[Any, ...]:
    milliseconds = round(WAIT_SECONDS * 1000)
    if wanted.fsync:
        return "WAITAOF", 1, wanted.replicas, milliseconds
    return "WAIT", wanted.replicas, milliseconds


def _checked(broker: Broker, wanted: Durability, answers: list[Any]) -> tuple[Any, Any]:
    written, confirmed = answers
    if isinstance(written, Exception):
        raise written
    if isinstance(confirmed, ResponseError) and wanted.fsync:
        raise BrokerUnsuitable(
            f"the broker at {broker.shown} cannot confirm durability={wanted}: that takes Redis 7.2 or newer, or "
            f"Valkey 8, with appendonly yes ({confirmed})"
        )
    if isinstance(confirmed, Exception):
        raise confirmed
    return written, confirmed


def _confirm(broker: Broker, wanted: Durability, confirmed: Any) -> None:
    on_disk, replicas = confirmed if wanted.fsync else (1, confirmed)
    if on_disk < 1 or replicas < wanted.replicas:
        reached = f"{replicas} of {wanted.replicas} replicas" + ("" if on_disk else ", and not this server's disk,")
        raise NotReplicated(
            f"the broker at {broker.shown} has the jobs, but after {WAIT_SECONDS:g} s only {reached} confirmed them: "
            f"submit again with the same idempotency key, or ask for less than durability={wanted}"
        )
