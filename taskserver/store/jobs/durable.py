"""Writes that are acknowledged only once they are on disk, on replicas, or both (``Durability``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakSet

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from taskserver.domain.durability import Durability
from taskserver.errors import BrokerUnsuitable, NotReplicated
from taskserver.observability.phrases import count
from taskserver.store.broker.connection import Broker
from taskserver.store.scripts import script

WAIT_SECONDS = 2.0
"""Maximum time to wait for disk and replicas; less than that to wait for an answer."""


class DurableWrite(NamedTuple):
    """The answer to a write; if disk or replicas have not confirmed it in time, with the error that says so."""

    answer: Any
    unconfirmed: NotReplicated | None


async def run_durably(broker: Broker, name: str, queue: str, *args: Any) -> DurableWrite:
    """``Broker.run`` that waits until what the script wrote has the durability of the broker, or for a time.

    WAIT and WAITAOF wait for the last write of their own connection, so the script and they are sent together.

    Raises:
        BrokerUnsuitable: if the server does not support this durability.
    """
    called, keys, wanted = script(name), broker.keys(queue), broker.durability
    rest = (len(keys.of_scripts), *keys.of_scripts, *args)

    async def write_and_wait(client: Any) -> DurableWrite:
        await _check_fsync(broker, wanted, client)
        answers = await _pipeline(client, ("EVALSHA", called.sha, *rest), _wait(wanted))
        if isinstance(answers[0], NoScriptError):
            answers = await _pipeline(client, ("EVAL", called.text, *rest), _wait(wanted))
        return _checked(broker, wanted, answers)

    return await broker.ask(keys.prefix, write_and_wait)


async def confirm_earlier(broker: Broker, queue: str) -> None:
    """Wait until what *earlier* calls wrote to a queue is durable: a job that is known may not be yet.

    One can only wait for a write of this connection, so there is one: replication keeps the order.

    Raises:
        NotReplicated, BrokerUnsuitable: as ``run_durably``.
    """
    keys, wanted = broker.keys(queue), broker.durability

    async def touch_and_wait(client: Any) -> DurableWrite:
        await _check_fsync(broker, wanted, client)
        answers = await _pipeline(client, ("HINCRBY", keys.meta, "touched", 1), _wait(wanted))
        return _checked(broker, wanted, answers)

    write = await broker.ask(keys.prefix, touch_and_wait)
    if write.unconfirmed is not None:
        raise write.unconfirmed


async def _check_fsync(broker: Broker, wanted: Durability, client: Any) -> None:
    """Refuse servers that confirm a sync too early (redis/redis#13793), unless they sync every write.

    Valkey 9.1 and Redis 7.4 answer WAITAOF as soon as everything is *written*, though up to a second of it is not
    synced yet. Found by cutting the power: tests/faults/test_durability.py.
    """
    if not wanted.fsync or client in _checked_clients:
        return
    info = await client.info("server")
    if "valkey_version" in info or str(info["redis_version"]).startswith("7.4."):
        policy = (await client.config_get("appendfsync")).get("appendfsync")
        if policy != "always":
            raise BrokerUnsuitable(
                f"the broker at {broker.shown} confirms jobs before they are on disk (appendfsync {policy}): "
                "for durability=fsync run CONFIG SET appendfsync always, or use Redis 8"
            )
    _checked_clients.add(client)


_checked_clients: WeakSet[Any] = WeakSet()


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


def _checked(broker: Broker, wanted: Durability, answers: list[Any]) -> DurableWrite:
    written, confirmed = answers
    if isinstance(written, Exception):
        raise written
    if isinstance(confirmed, ResponseError) and wanted.fsync:
        raise BrokerUnsuitable(
            f"the broker at {broker.shown} has the jobs, but does not support durability={wanted}: "
            f"use Redis 7.2 or newer, or Valkey 8, with appendonly yes ({confirmed})"
        )
    return DurableWrite(written, _unconfirmed(broker, wanted, confirmed))


def _unconfirmed(broker: Broker, wanted: Durability, confirmed: Any) -> NotReplicated | None:
    has_them = f"the broker at {broker.shown} has the jobs, but"
    if isinstance(confirmed, NoPermissionError):
        return NotReplicated(f"{has_them} does not let this user wait for durability={wanted}: {confirmed}")
    if isinstance(confirmed, Exception):
        raise confirmed
    on_disk, replicas = confirmed if wanted.fsync else (1, confirmed)
    if on_disk >= 1 and replicas >= wanted.replicas:
        return None
    reached = f"{replicas} of {count(wanted.replicas, 'replica')}" + ("" if on_disk else ", but not the server's disk,")
    return NotReplicated(
        f"{has_them} only {reached} confirmed them within {WAIT_SECONDS:g} s: "
        f"submit again with the same idempotency key, or use less than durability={wanted}"
    )
