"""Records that somebody wrote into the broker by hand: what looks at jobs shows what it can, at once, and continues."""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from taskserver import Client, Context, JobFailed, TaskServerError, tool
from taskserver.client.job import Job
from taskserver.domain.messages import MAX_BYTES
from taskserver.observability.printable import json_text
from taskserver.store.broker.connection import Broker
from taskserver.store.keys import GROUP
from taskserver.store.queries import queues
from taskserver.store.queries.outcomes import read_outcomes
from taskserver.store.queries.search import JobFilter, dead_letters, newest_jobs
from taskserver.store.queries.untrusted import RECORD_BYTES
from tests.acceptance.cli import Cli
from tests.conftest import RunWorker
from tests.patience import PATIENCE

pack = msgspec.msgpack.encode
BOMB = b"\xdd" + struct.pack(">I", 3_000_000) + b"\x90" * 3_000_000
DEEP = b"\x91" * 20_000 + b"\x90"
NONSENSE = {
    "nothing": b"",
    "noise": b"\xc1\xff\x00",
    "not UTF-8": b"\x93\xa2\xff\xfe\xa1x\xa1y",
    "a deep one": DEEP,
    "a bomb": BOMB,
    "a long one": b"x" * (MAX_BYTES + 100),
    "a map": pack({"a": 1}),
    "a map with an array for a key": b"\x81\x91\x90\x01",
    "wrong types": pack([1, 2, 3]),
    "no numbers": pack([float("nan"), "x", "y"]),
    "far too much": pack(["output", "x", 1e300]),
}


@tool(max_retries=0)
async def fail(ctx: Context) -> None:
    ctx.progress(0.5, "half")
    ctx.emit("said")
    raise ValueError("boom")


@tool
async def fine() -> str:
    return "fine"


@pytest.fixture
async def ended(client: Client, run_worker: RunWorker) -> Job[Any]:
    """A job that failed, and has a record of everything."""
    async with run_worker(fail, fine):
        job = await client.submit(fail)
        with pytest.raises(JobFailed):
            await job.result(timeout=PATIENCE)
    return job


@pytest.fixture
def key(ended: Job[Any]) -> str:
    return ended.id.removeprefix("default-")


Forge = Callable[[bytes], Awaitable[Any]]


@pytest.fixture
def forge(broker: Broker, key: str) -> dict[str, Forge]:
    """By what is forged: how to write it."""
    keys = broker.keys("default")
    client = broker.client(broker.url)

    async def field(name: str, value: bytes) -> None:
        await client.hset(keys.job(key), name, value)

    async def outcome(value: bytes) -> None:
        await client.hdel(keys.job(key), "data")
        await client.set(keys.outcome(key), value)

    async def event(value: bytes) -> None:
        await client.xadd(keys.events(key), {"report": value, "attempt": "minus one"})

    def into(name: str) -> Forge:
        return lambda value: field(name, value)

    return {
        "the message": lambda value: client.set(keys.message(key), value),
        "the outcome": outcome,
        "an event": event,
        "a line of history": lambda value: client.rpush(keys.history(key), value),
        "a worker": lambda value: client.set(keys.worker("x"), value),
    } | {name: into(name) for name in ("data", "progress", "worker", "attempt", "max", "started", "ended", "due")}


async def looked_at(client: Client, broker: Broker, job: Job[Any]) -> None:
    """Everything that looks at a job; it tells something or one of our errors, and what is told can be shown."""
    status = await job.status()
    json_text(msgspec.to_builtins(status, enc_hook=str, str_keys=True))
    assert len(repr(status)) < 100_000 or status.arguments
    with pytest.raises(TaskServerError) as caught:
        await job.result(timeout=PATIENCE)
    assert len(str(caught.value)) < 100_000
    assert [event.text async for event in job.events()][:2] == ["half", "said"]
    assert [found.id for found in await newest_jobs(broker, ["default"], JobFilter(), 10)] == [job.id]
    assert [found.id async for found in dead_letters(broker, ["default"], JobFilter())] == [job.id]
    assert (await queues.info(broker, "default")).dead == 1


@pytest.mark.parametrize("value", NONSENSE)
async def test_whatever_stands_in_a_record_it_can_be_looked_at(
    client: Client, broker: Broker, ended: Job[Any], forge: dict[str, Forge], value: str
) -> None:
    for write in forge.values():
        await write(NONSENSE[value])
    await looked_at(client, broker, ended)


async def test_a_forged_error_is_told_as_such(ended: Job[Any], forge: dict[str, Forge]) -> None:
    await forge["the outcome"](pack(["ValueError", "x" * RECORD_BYTES, ""]))
    with pytest.raises(JobFailed, match="Unreadable: the recorded error cannot be read"):
        await ended.result(timeout=PATIENCE)


async def test_a_message_with_nonsense_beside_its_call_is_shown_as_far_as_it_goes(
    client: Client, ended: Job[Any], forge: dict[str, Forge]
) -> None:
    odd = {None: 1, b"\xff": 2, (1, 2): 3, 1.5: float("nan"), "deep": [[[[]]]], "ext": msgspec.msgpack.Ext(5, b"x")}
    body = msgspec.Raw(pack({"tool_name": ["no", "name"] * 500, "tool_args": odd}))
    await forge["the message"](pack(["ToolExecutionMessage", body, 2**63, None, None, None, []]))
    status = await ended.status()
    assert status.submitted_at is None
    assert len(status.tool) == 200
    shown = json.loads(json_text(status.arguments))
    assert shown == {"None": 1, "\\xff": 2, "(1, 2)": 3, "1.5": "NaN", "deep": [[[[]]]], "ext": shown["ext"]}


async def test_names_that_are_none_are_passed_over(client: Client, broker: Broker, ended: Job[Any], key: str) -> None:
    raw = broker.client(broker.url)
    keys = broker.keys("default")
    await raw.sadd("ts:queues", b"\xff\xfe", "a}b", "../x", "", "\x1b[31mred")
    await raw.hset(keys.prefix.encode() + b"job:\xff\xfe", "state", "queued")
    await raw.zadd(keys.dead, {b"\xff\xfe": 9e15, "../x": 9e15})
    await raw.set(keys.prefix.encode() + b"worker:\xff", b"x")
    await raw.xgroup_createconsumer(keys.lane("normal"), GROUP, b"\xff")
    assert await queues.names(broker) == ["default"]
    assert (await queues.info(broker, "default")).workers == ["\\xff"]
    assert [found.id async for found in dead_letters(broker, ["default"], JobFilter())] == [ended.id]
    assert [found.id for found in await newest_jobs(broker, ["default"], JobFilter(), 10)] == [ended.id]


async def test_a_result_that_nobody_could_have_given_is_one_clear_error(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    async with run_worker(fine):
        job = await client.submit("fine")
        await job.result(timeout=PATIENCE)
    for value, sentence in (
        (BOMB, "elements"),
        (DEEP, "result"),
        (b"\xc1", "result"),
        (b"x" * (MAX_BYTES + 9), "bytes"),
    ):
        key = job.id.removeprefix("default-")
        await broker.client(broker.url).hset(broker.keys("default").job(key), "data", value)
        with pytest.raises(TaskServerError, match=sentence):
            await client.job(job.id).result(timeout=PATIENCE)


async def test_events_go_on_behind_one_that_cannot_be_read(ended: Job[Any], forge: dict[str, Forge]) -> None:
    await forge["an event"](b"\xc1")
    await forge["an event"](pack(["output", "behind it"]))
    assert [event.text async for event in ended.events()] == [
        "half", "said", "(unreadable event)\n", "behind it",
    ]  # fmt: skip


async def test_a_state_that_is_none_does_not_keep_others_waiting(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    forged = await client.submit("fine", queue="nobody")
    key = forged.id.removeprefix("nobody-")
    await broker.client(broker.url).hset(broker.keys("nobody").job(key), "state", "\x1b[31mdone")
    with pytest.raises(TaskServerError):
        await forged.result(timeout=PATIENCE)
    with pytest.raises(TaskServerError):
        await forged.status()
    with pytest.raises(TaskServerError):
        await forged.cancel()
    assert await read_outcomes(broker, "nobody", [key]) == [None]


@pytest.fixture
def cli(one_broker_url: str, tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path, {"TASKSERVER_BROKER_URL": one_broker_url})
    yield cli
    cli.close()


def test_the_command_line_shows_forged_records_without_a_traceback(one_broker_url: str, cli: Cli) -> None:
    job = cli.submit("echo", "text=x")
    key = job.removeprefix("default-")
    prefix = "ts:{default}:"
    with redis.Redis.from_url(one_broker_url) as client:
        nonsense = {"progress": DEEP, "started": "soon", "due": "9" * 15, "lane": b"\xff", "data": DEEP}
        client.hset(f"{prefix}job:{key}", mapping=nonsense | {"worker": b"\x1b]0;x\x07"})
        client.rpush(f"{prefix}history:{key}", BOMB, pack([1, 9e300, "w", "retry"]), pack([1, 2**60, "w", "retry"]))
        client.set(f"{prefix}msg:{key}", b"\x91" * 800 + b"\x90")
        client.sadd("ts:queues", b"\xff", "\x1b[31mred")
    for command in (["job", "status", job], ["job", "list"], ["dead", "list"], ["queue", "list"]):
        for form in ([], ["--json"]):
            done = cli.ok(*command, *form)
            assert "\x1b" not in done.out + done.err
            assert "Traceback" not in done.err
