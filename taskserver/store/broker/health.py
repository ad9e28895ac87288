"""Whether a broker is suitable for jobs: checked when a worker starts, and by ``taskserver doctor``."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from taskserver.domain.durability import Durability
from taskserver.errors import BrokerUnsuitable
from taskserver.observability.phrases import count
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.schema import CURRENT, SchemaDamaged

NEEDED_COMMANDS = ("XCLAIM", "XREADGROUP", "XGROUP", "EVALSHA", "ZRANGE", "UNLINK", "CLIENT")
CLOCK_SECONDS = 5.0
"""The difference between this machine's clock and the broker's that is reported."""


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        subject: What was checked.
        level: ``ok``, ``warning``, ``error`` (jobs would be lost or cannot run) or ``repaired``.
        text: What was found.
        advice: What to do; empty if there is nothing to do.
    """

    subject: str
    level: str
    text: str
    advice: str = ""


async def check_suitable(broker: Broker) -> None:
    """Refuse a broker that cannot run our scripts, would evict jobs, or holds keys of a schema that we do not know.

    Raises:
        BrokerUnsuitable: with what to do.
        BrokerUnavailable, BrokerDenied: if it does not answer, or refuses the user.
    """
    for server in await broker.masters():
        client = broker.client(server)
        async with broker.explained():
            findings = (_commands(await _missing(client)), _eviction(await client.info()))
        for finding in findings:
            if finding.level == "error":
                raise BrokerUnsuitable(f"{server} is not suitable: {finding.text}; {finding.advice}")
    await broker.check_schema()


async def examine_servers(broker: Broker) -> list[Finding]:
    """Check everything about the servers that matters for jobs; ``store/maintenance/doctor.py`` checks the queues.

    Raises:
        BrokerUnavailable, BrokerDenied: if a server does not answer, or refuses the user.
    """
    findings = []
    for server in await broker.masters():
        async with broker.explained():
            findings += await _server(broker.client(server), server, broker.durability)
    return findings


async def _server(client: Any, shown: str, durability: Durability) -> list[Finding]:
    info = await client.info()
    return [
        Finding("server", "ok", f"{_product(info)} at {shown}"),
        _commands(await _missing(client)),
        _eviction(info),
        _persistence(info, durability),
        _replication(info, durability),
        _memory(info),
        await _clock(client),
    ]


async def examine_schema(broker: Broker, *, repair: bool) -> list[Finding]:
    """Check that this version knows the schema of the keys; with ``repair``, an invalid schema is replaced.

    Raises:
        BrokerUnavailable, BrokerDenied: if it cannot be read, or replaced.
    """
    try:
        await broker.check_schema()
    except BrokerUnsuitable as error:
        if repair and isinstance(error, SchemaDamaged):
            await broker.write_schema()
            return [Finding("schema", "repaired", f"replaced: {CURRENT.number}")]
        text, _, command = str(error).rpartition(": ")
        return [Finding("schema", "error", text, command)]
    return [Finding("schema", "ok", f"{CURRENT.number}, the one of this version of taskserver")]


async def _missing(client: Any) -> list[str]:
    """Versions cannot be trusted (Valkey reports a number of Redis), so the commands themselves are looked up."""
    # The client library fails to read this answer if the server lacks a command.
    client.set_response_callback("COMMAND", lambda answer, **_: answer)
    known = await client.execute_command("COMMAND", "INFO", *NEEDED_COMMANDS)
    found = {entry[0].decode().upper() for entry in known if entry}
    try:
        await client.eval("#!lua flags=no-writes\nreturn 1", 0)
    except Exception as error:
        if "shebang" not in str(error) and "compiling" not in str(error):
            raise
        return ["script flags"]
    return [name for name in NEEDED_COMMANDS if name not in found]


def _product(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '(unknown version)')}"


def _commands(missing: list[str]) -> Finding:
    if missing:
        return Finding(
            "commands", "error", f"it is missing {', '.join(missing)}", "use Redis 7.0 or newer, or Valkey 8 or newer"
        )
    return Finding("commands", "ok", "all required ones are available")


def _eviction(info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return Finding(
            "eviction",
            "error",
            f"maxmemory-policy is {policy}: jobs would be evicted when memory runs out",
            "run CONFIG SET maxmemory-policy noeviction, and set it in the server's configuration",
        )
    return Finding("eviction", "ok", "noeviction")


def _persistence(info: dict[str, Any], durability: Durability) -> Finding:
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return Finding("persistence", "error", "the append-only file cannot be written", "free disk space")
        return Finding("persistence", "ok", "append-only file")
    return Finding(
        "persistence",
        "error" if durability.fsync else "warning",
        "no append-only file: when the server crashes, jobs since its last snapshot are lost",
        "run CONFIG SET appendonly yes, and set it in the server's configuration",
    )


def _replication(info: dict[str, Any], durability: Durability) -> Finding:
    connected = int(info.get("connected_slaves", 0))
    text = count(connected, "replica")
    if connected < durability.replicas:
        advice = "start more replicas, or set TASKSERVER_DURABILITY to fewer: until then every submit fails"
        return Finding("replication", "error", f"{text}, but durability={durability} requires more", advice)
    return Finding("replication", "ok", text)


def _memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    text = f"{used / 2**20:,.1f} MiB used" + (f" of {limit / 2**20:,.1f} MiB" if limit else ", no limit set")
    if limit and used > 0.9 * limit:
        return Finding("memory", "warning", text, "raise maxmemory, or shorten result_ttl")
    return Finding("memory", "ok", text)


async def _clock(client: Any) -> Finding:
    before = time.time()
    seconds, micros = await client.time()
    apart = seconds + micros / 1e6 - (before + time.time()) / 2
    text = f"{abs(apart):.3f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
    if abs(apart) > CLOCK_SECONDS:
        advice = "synchronize both by NTP: delays and leases go by the broker's clock, submit(at=…) by this machine's"
        return Finding("clock", "warning", text, advice)
    return Finding("clock", "ok", text)
