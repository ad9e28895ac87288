"""Is this broker fit to hold jobs? What is refused at a worker's start, and what a doctor tells."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taskserver.errors import BrokerUnavailable, BrokerUnsuitable
from taskserver.store.broker import health
from taskserver.store.broker.connection import Broker
from tests.store.harness import Queue


@pytest.fixture
async def server(queue: Queue) -> AsyncIterator[Any]:
    """The server, whose settings are put back after the test."""
    before = await queue.redis.config_get("maxmemory-policy", "appendonly", "maxmemory")
    yield queue.redis
    await queue.redis.config_set(*[word for pair in before.items() for word in pair])


async def finding(broker: Broker, subject: str) -> health.Finding:
    return next(found for found in await health.examine_servers(broker) if found.subject == subject)


async def test_a_plain_server_fits(queue: Queue) -> None:
    await health.check_suitable(queue.broker)
    found = {finding.subject: finding.level for finding in await health.examine_servers(queue.broker)}
    assert found == {
        "server": "ok",
        "commands": "ok",
        "eviction": "ok",
        "persistence": "warning",
        "replication": "ok",
        "memory": "ok",
        "clock": "ok",
    }


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_would_evict_jobs_is_refused_with_the_fix(queue: Queue, server: Any, policy: str) -> None:
    await server.config_set("maxmemory-policy", policy)
    with pytest.raises(BrokerUnsuitable, match=f"{policy}.*CONFIG SET maxmemory-policy noeviction"):
        await health.check_suitable(queue.broker)
    assert (await finding(queue.broker, "eviction")).level == "error"


async def test_a_server_out_of_memory_fits_so_that_workers_can_empty_it(queue: Queue, server: Any) -> None:
    await server.config_set("maxmemory", 1)
    await health.check_suitable(queue.broker)
    assert (await finding(queue.broker, "memory")).level == "warning"


async def test_a_server_that_lacks_a_command_is_refused(
    queue: Queue, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "NEEDED_COMMANDS", ("XADD", "XCOMMANDOFTHEFUTURE"))
    with pytest.raises(BrokerUnsuitable, match=r"is missing XCOMMANDOFTHEFUTURE.*Redis 7.0 or newer, or Valkey 8"):
        await health.check_suitable(queue.broker)


async def test_a_server_that_does_not_know_script_flags_is_refused(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def old_eval(*_: object) -> None:  # as Redis 6 answers
        raise ValueError("Error compiling script (new function): user_script:1: unexpected symbol near '#'")

    monkeypatch.setattr(queue.redis, "eval", old_eval)
    with pytest.raises(BrokerUnsuitable, match="script flags"):
        await health.check_suitable(queue.broker)


async def test_persistence_is_told(queue: Queue, server: Any, eventually: Any) -> None:
    assert "CONFIG SET appendonly yes" in (await finding(queue.broker, "persistence")).advice
    await server.config_set("appendonly", "yes")

    async def kept() -> bool:
        return (await finding(queue.broker, "persistence")).level == "ok"

    await eventually(kept)


async def test_clocks_that_differ_are_told(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    hour_ago = time.time() - 3600
    monkeypatch.setattr(health.time, "time", lambda: hour_ago)
    clock = await finding(queue.broker, "clock")
    assert (clock.level, "ahead of" in clock.text) == ("warning", True)


async def test_a_server_that_is_down_cannot_be_examined(tmp_path: Path) -> None:
    broker = Broker(f"unix://{tmp_path}/none")
    for probe in (health.check_suitable, health.examine_servers, Broker.check_schema):
        with pytest.raises(BrokerUnavailable):
            await probe(broker)
    await broker.close()
