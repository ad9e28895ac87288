"""Results that cannot be sent, messages that cannot be read, and entries that are no jobs."""

from typing import Any

import pytest

from taskserver import BaseMessage, Client, JobFailed, State, tool
from taskserver.domain import ids
from taskserver.domain.job import NewJob
from taskserver.domain.messages import Envelope, pack
from taskserver.store.broker.connection import Broker
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.store.harness import submit_all
from tests.worker.conftest import Hire


@tool
async def fine() -> str:
    return "fine"


def _itself() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


RESULTS = {
    "an object": (object, "are not supported"),
    "a huge integer": (lambda: 2**70, "64 bits"),
    "a lone surrogate": (lambda: "\ud800", "surrogate"),
    "a circle": (_itself, "contains itself"),
    "too many bytes": (lambda: bytes(2_000), "at most 1,024 are allowed"),
}


@pytest.mark.parametrize("what", RESULTS)
async def test_a_result_that_cannot_be_sent_fails_its_job_at_once(client: Client, hire: Hire, what: str) -> None:
    make, sentence = RESULTS[what]
    runs = 0

    @tool
    async def give() -> Any:
        nonlocal runs
        runs += 1
        return make()

    await hire(give, max_message_bytes=1024)
    job = await client.submit(give)
    with pytest.raises(JobFailed, match=sentence) as caught:
        await job.result(timeout=PATIENCE)
    assert caught.value.error_type == "ResultInvalid"
    assert (await job.status()).state is State.FAILED
    assert runs == 1


MESSAGES = {
    "nothing": b"",
    "noise": b"\xc1\xc1\xc1",
    "no envelope": b"\x91\x01",
    "not UTF-8": b"\x92\xa2\xff\xff\x80",
    "a deep one": b"\x91" * 50_000 + b"\x90",
    "no tool": pack(Envelope("ToolExecutionMessage", b"\x80")),  # type: ignore[arg-type]
    "a tool's name that is none": pack(Envelope("ToolExecutionMessage", b"\x81\xa9tool_name\x05")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", MESSAGES)
async def test_a_message_that_cannot_be_read_is_a_dead_letter(client: Client, hire: Hire, what: str) -> None:
    hired = await hire(fine)
    job = NewJob(ids.KeyMaker("000000")(), MESSAGES[what])
    await submit_all(hired.broker, "default", [job])
    handle = client.job(f"default-{job.key}")
    with pytest.raises(JobFailed):
        await handle.result(timeout=PATIENCE)
    assert (await handle.status()).state is State.DEAD
    assert await (await client.submit(fine)).result(timeout=PATIENCE) == "fine"


async def test_a_message_type_that_nobody_consumes_waits_and_is_then_a_dead_letter(client: Client, hire: Hire) -> None:
    class Unknown(BaseMessage):
        text: str

    await hire(fine, unknown_tool_wait=0.3)
    job = await client.send(Unknown(text="x"))
    with pytest.raises(JobFailed, match="no consumer is registered for message type 'Unknown'"):
        await job.result(timeout=PATIENCE)
    status = await job.status()
    assert status.state is State.DEAD
    assert status.ended_at is not None
    assert status.submitted_at is not None
    assert status.ended_at - status.submitted_at >= 0.25


GARBAGE: dict[str, dict[bytes, bytes]] = {
    "another field": {b"x": b"y"},
    "an unknown job": {b"job": b"0" * 24},
    "not UTF-8": {b"job": b"\xff\xfe\xfd"},
    "an empty name": {b"job": b""},
    "thousands of fields": {str(i).encode(): b"x" for i in range(10_000)},
    "a field too many": {b"job": b"0" * 24, b"more": b"x"},
}


@pytest.mark.parametrize("blocked", [True, False], ids=["while the worker waits", "before it starts"])
async def test_entries_that_are_no_jobs_are_thrown_away(
    client: Client, hire: Hire, broker: Broker, eventually: Eventually, caplog: pytest.LogCaptureFixture, blocked: bool
) -> None:
    await broker.prepare("default")
    if blocked:
        fetcher = (await hire(fine)).worker._partitions["default"].fetcher

        async def reading() -> bool:
            return fetcher._reader._reading

        await eventually(reading)
    for fields in GARBAGE.values():
        await broker.client(broker.url).xadd(broker.keys("default").lane("normal"), fields)
    if not blocked:
        await hire(fine)
    assert await (await client.submit(fine)).result(timeout=PATIENCE) == "fine"

    async def all_are_gone() -> bool:
        return not await broker.client(broker.url).xlen(broker.keys("default").lane("normal"))

    await eventually(all_are_gone)
    assert caplog.text.count("discarded stream entry") == len(GARBAGE)


async def test_an_entry_that_was_written_twice_runs_its_job_once(client: Client, hire: Hire, broker: Broker) -> None:
    runs = 0

    @tool
    async def count() -> int:
        nonlocal runs
        runs += 1
        return runs

    job = await client.submit(count)
    for _ in range(3):
        await broker.client(broker.url).xadd(
            broker.keys("default").lane("high"), {b"job": job.id.removeprefix("default-").encode()}
        )
    await hire(count, fine)
    assert await job.result(timeout=PATIENCE) == 1
    assert await (await client.submit(fine)).result(timeout=PATIENCE) == "fine"
    assert runs == 1
