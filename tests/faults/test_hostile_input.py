"""Producers that send nonsense, bombs and names of what they want to reach: refused before they cost anything."""

from __future__ import annotations

import io
import logging
import resource
import struct
from collections.abc import Awaitable, Callable
from functools import reduce
from typing import Any

import msgspec
import pytest

from taskserver import Client, ConfigError, Context, JobFailed, State, tool
from taskserver.domain import ids
from taskserver.domain.job import NewJob
from taskserver.domain.messages import ToolExecutionMessage
from taskserver.errors import MessageError, MessageInvalid, MessageTooLarge
from taskserver.observability.logging import configure
from taskserver.observability.printable import one_line, printable
from taskserver.store.broker.connection import Broker
from tests.conftest import Eventually, RunWorker
from tests.logs import restored_logging
from tests.patience import PATIENCE
from tests.store.harness import submit_all


@tool
async def echo(value: Any = None) -> Any:
    return value


def call(name: Any, **arguments: Any) -> bytes:
    """A message for a tool, packed without any of a client's checks."""
    body = msgspec.msgpack.encode({"tool_name": name, "tool_args": arguments})
    return msgspec.msgpack.encode(["ToolExecutionMessage", msgspec.Raw(body)])


async def planted(client: Client, broker: Broker, payload: bytes) -> Any:
    """The handle of a job that somebody wrote by hand."""
    job = NewJob(ids.KeyMaker("000000")(), payload)
    await submit_all(broker, "default", [job])
    return client.job(f"default-{job.key}")


def arrays(count: int) -> msgspec.Raw:
    return msgspec.Raw(b"\xdd" + struct.pack(">I", count) + b"\x90" * count)


BOMBS = {
    "ten megabytes of empty arrays": call("echo", value=arrays(10_000_000)),
    "as many as fit into a message": call("echo", value=arrays(4_000_000)),
    "a deep one": call("echo", value=msgspec.Raw(b"\x91" * 1_000_000 + b"\x90")),
    "a deep one that is small": call("echo", value=msgspec.Raw(b"\x91" * 20_000 + b"\x90")),
    "a map in a map": call("echo", value=msgspec.Raw(b"\x81\x01" * 500_000 + b"\x80")),
    "half a gigabyte, it says": call("echo", value=msgspec.Raw(b"\xdd\x1f\xff\xff\xff")),
}


@pytest.mark.parametrize("what", BOMBS)
async def test_a_bomb_is_a_dead_letter_and_costs_no_memory(
    client: Client, broker: Broker, run_worker: RunWorker, what: str
) -> None:
    async with run_worker(echo, concurrency=1):
        assert await (await client.submit(echo, {"value": 1})).result(timeout=PATIENCE) == 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        job = await planted(client, broker, BOMBS[what])
        with pytest.raises(JobFailed, match=r"MessageTooLarge|MessageInvalid"):
            await job.result(timeout=PATIENCE)
        assert (await job.status()).state is State.DEAD
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < 200, f"{grown:.0f} MiB more: decoded, ten megabytes of arrays took 708"
        assert await (await client.submit(echo, {"value": 2})).result(timeout=PATIENCE) == 2


async def test_a_bomb_in_the_record_of_a_result_is_refused_too(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    async with run_worker(echo):
        job = await client.submit("echo", {"value": 1})
        await job.result(timeout=PATIENCE)
    key = broker.keys("default").job(job.id.removeprefix("default-"))
    await broker.client(broker.url).hset(key, "data", b"\xdd" + struct.pack(">I", 3_000_000) + b"\x90" * 3_000_000)
    with pytest.raises(Exception, match="too many elements: at most 200,000 are allowed"):
        await client.job(job.id).result(timeout=PATIENCE)


WAYS: dict[str, Callable[[Client, Any], Awaitable[Any]]] = {
    "submit by name": lambda client, value: client.submit("echo", {"value": value}),
    "submit": lambda client, value: client.submit(echo, {"value": value}),
    "submit_many": lambda client, value: client.submit_many([(echo, {"value": 1}), ("echo", {"value": value})]),
    "send": lambda client, value: client.send(ToolExecutionMessage(tool_name="echo", tool_args={"value": value})),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        (2**70, MessageInvalid, r"more than 64 bits at \.tool_args\.value; pass it as a string"),
        ("\ud800", MessageInvalid, "a lone surrogate"),
        (object(), MessageInvalid, "are not supported"),
        ([[]] * 300_000, MessageTooLarge, "too many elements: at most 200,000 are allowed"),
        (reduce(lambda inner, _: [inner], range(100), ["x" * 40_000]), MessageTooLarge, "nested too deeply"),
        (bytes(100_000_000), MessageTooLarge, "100,000,0.. bytes, and at most 4,194,304 are allowed; pass a path or"),
    ],
    ids=["integer", "surrogate", "object", "elements", "levels", "bytes"],
)
async def test_an_argument_that_cannot_be_sent_is_refused_before_anything_is_sent(
    way: str, value: Any, error: type[MessageError], sentence: str
) -> None:
    client = Client("redis://localhost:1")  # nobody listens there, and nobody is asked
    with pytest.raises(error, match=sentence):
        await WAYS[way](client, value)
    await client.close()


async def test_not_a_number_is_a_number_of_its_own(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(echo):
        result = await (await client.submit(echo, {"value": [float("nan"), float("inf")]})).result(timeout=PATIENCE)
    assert str(result) == "[nan, inf]"


NAMES = [
    "os:system", "os.system;", "../x", "/etc/passwd", "a b", "", "echo\x00", "echo\n", "x" * 200,
    "\u0435cho",  # the first letter is Cyrillic
    "\uff45cho",  # full-width
    "\u202eohce", "echo\u200b", "\x1b[31mecho", "__import__('os')", "1echo", "-echo",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_tools_name_that_is_none_is_refused_at_submit(name: str) -> None:
    client = Client("redis://localhost:1")
    with pytest.raises(ConfigError, match="is not a valid tool name: use 1 to 128 letters"):
        await client.submit(name, {})
    await client.close()


@pytest.mark.parametrize("name", [*NAMES, "os.system", "builtins.eval", "echo.__class__", "Echo", ["echo"], 5])
async def test_a_name_that_was_written_by_hand_reaches_nothing_but_the_workers_own_tools(
    client: Client, broker: Broker, run_worker: RunWorker, name: Any
) -> None:
    async with run_worker(echo, unknown_tool_wait=0):
        job = await planted(client, broker, call(name, value="x"))
        with pytest.raises(
            JobFailed, match=r"ToolNotFound: unknown tool |MessageInvalid: not a message of type"
        ) as caught:
            await job.result(timeout=PATIENCE)
        assert printable(str(caught.value)) == str(caught.value)


async def test_entries_by_the_thousand_that_are_no_jobs_are_told_once_each_and_nothing_spins(
    client: Client, broker: Broker, run_worker: RunWorker, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "taskserver")
    raw, keys = broker.client(broker.url), broker.keys("default")
    await broker.prepare("default")
    known = await client.submit(echo, {"value": 1}, idempotency_key="known")
    async with raw.pipeline(transaction=False) as pipe:
        for number in range(1_000):
            lane = keys.lane(("high", "normal", "low", "returned")[number % 4])
            pipe.xadd(
                lane, {b"job": known.id.removeprefix("default-").encode() if number % 2 else f"{number:024}".encode()}
            )
        await pipe.execute()
    async with run_worker(echo, concurrency=2):
        assert await known.result(timeout=PATIENCE) == 1

        async def gone() -> bool:
            return not sum([await raw.xlen(keys.lane(lane)) for lane in ("high", "normal", "low", "returned")])

        await eventually(gone)
        assert await (await client.submit(echo, {"value": 2})).result(timeout=PATIENCE) == 2
        discarded = caplog.text.count("discarded stream entry")
        assert 0 < discarded <= 1_000, "once each, unless the janitor comes first"
        await raw.config_resetstat()
        assert await (await client.submit(echo, {"value": 3})).result(timeout=PATIENCE) == 3
        calls = sum(each["calls"] for each in (await raw.info("commandstats")).values())
        assert calls < 1_000, "an idle worker with nothing but a job to run"
        assert caplog.text.count("discarded stream entry") == discarded


NASTY = (
    "<script>alert(1)</script> \x1b]0;owned\x07 \x1b[2J \x9b31m \u202egnp.exe\u202c \u2028 "
    "12:00:00.000 error    forged\n12:00:00.000 error    forged\r\x00"
)


class Nasty(Exception):
    pass


Nasty.__qualname__ = NASTY


@tool(max_retries=0)
async def shout(text: str, *, ctx: Context) -> None:
    ctx.progress(0.5, text)
    ctx.emit(text)
    ctx.logger.warning("%s", text, extra={"attempt": text})
    logging.getLogger(text).error(text)
    try:
        raise Nasty(text)
    except Nasty as error:
        error.add_note(text)
        logging.getLogger("mine").exception("while %s", text)
        raise


async def test_nothing_that_a_job_says_steers_a_terminal_or_passes_for_a_line_of_the_log(
    client: Client, broker: Broker, run_worker: RunWorker
) -> None:
    stream = io.StringIO()
    with restored_logging():
        configure("debug", stream=stream)
        async with run_worker(shout, unknown_tool_wait=0):
            job = await client.submit(shout, {"text": NASTY}, tags=[NASTY], session_id=NASTY)
            with pytest.raises(JobFailed):
                await job.result(timeout=PATIENCE)
            for payload in (call(NASTY), msgspec.msgpack.encode([NASTY, {}]), msgspec.msgpack.encode([NASTY])):
                with pytest.raises(JobFailed):
                    await (await planted(client, broker, payload)).result(timeout=PATIENCE)
    log = stream.getvalue()
    assert "forged" in log
    assert printable(log) == log
    lines = log.splitlines()
    assert [line for line in lines if not line.startswith(("    ", *"0123456789"))] == []
    assert [line for line in lines if line.startswith("12:00:00.000")] == []


@pytest.mark.parametrize("clean", [printable, one_line])
def test_what_is_printed_for_people_has_nothing_left_that_steers(clean: Any) -> None:
    shown = clean(NASTY)
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u202c\u2028\x00\r")
    assert "<script>" in shown, "text stays text: what shows it in a page escapes it there"
