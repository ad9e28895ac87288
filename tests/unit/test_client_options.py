"""Options of a submit: an invalid one is refused with a sentence that says what to change."""

import pickle
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from taskserver import BaseMessage, Client, ConfigError, JobNotFound, State, tool
from taskserver.client.options import Declaration, PreparedJob, prepare
from taskserver.domain.job import NewJob
from taskserver.domain.messages import unpack
from taskserver.errors import ArgumentsInvalid, MessageInvalid, MessageTooLarge, ToolInvalid

KEY = "0" * 24


class Note(BaseMessage):
    text: Any = ""


def _prepared(message: BaseMessage | None = None, max_bytes: int = 10_000, **options: Any) -> PreparedJob:
    return prepare(message or Note(), options, Declaration("note", "default"), lambda: KEY, max_bytes)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prority": 1}, "unknown option 'prority'; did you mean 'priority'?"),
        ({"colour": 1}, "unknown option 'colour'"),
        ({"priority": 11}, "priority must be between 1 (most urgent) and 10, or one of high, normal, low; not 11"),
        ({"priority": True}, "priority must be between 1"),
        ({"delay": "soon"}, "delay must be a number of seconds or a timedelta of at least 0 s, not 'soon'"),
        ({"delay": -1}, "delay must be a number of seconds"),
        ({"delay": float("nan")}, "delay must be a number of seconds"),
        ({"delay": 1, "at": time.time()}, "use either delay or at, not both"),
        ({"at": datetime(2030, 1, 1)}, "at has no time zone: pass a datetime with one, such as datetime.now(UTC)"),
        ({"timeout": 0}, "timeout must be a number of seconds or a timedelta of at least 0.001 s, not 0"),
        ({"timeout": True}, "timeout must be a number"),
        ({"max_retries": 1.5}, "max_retries must be an integer between 0 and 1000, not 1.5"),
        ({"max_retries": -1}, "max_retries must be an integer"),
        ({"queue": "no spaces"}, "'no spaces' is not a valid queue name: use 1 to 64 letters"),
        ({"queue": 5}, "queue must be a non-empty string, not 5"),
        ({"idempotency_key": ""}, "idempotency_key must be a non-empty string"),
        ({"tags": "red"}, "tags must be a list of strings, not 'red'"),
        ({"tags": [1]}, "tags must be a non-empty string"),
        ({"session_id": 7}, "session_id must be a non-empty string"),
        ({"expires": timedelta(0)}, "expires must be a number of seconds"),
        ({"result_ttl": "1d"}, "result_ttl must be a number of seconds"),
    ],
)
def test_an_invalid_option_is_refused_with_what_to_change(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _prepared(**options)
    assert sentence in str(caught.value)


def test_options_become_what_the_broker_stores() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    prepared = _prepared(
        queue="other", priority=1, at=moment, max_retries=2, expires=timedelta(minutes=1), result_ttl=3600,
        timeout=1.5, session_id="s", tags=["a", "b"], idempotency_key="k",
    )  # fmt: skip
    job, envelope = prepared.job, unpack(prepared.job.payload)
    assert prepared.queue == "other"
    assert (job.lane, job.max_attempts, job.due_ms) == ("high", 3, round(moment.timestamp() * 1000))
    assert (job.expires_ms, job.result_ttl_ms) == (60_000, 3_600_000)
    assert (envelope.timeout, envelope.session_id, envelope.tags) == (1.5, "s", ("a", "b"))
    assert envelope.idempotency_key == "k"
    assert job.key != KEY


def test_none_counts_as_not_given() -> None:
    assert NewJob(KEY, b"") == replace(_prepared(priority=None, delay=None).job, key=KEY, payload=b"")


@pytest.mark.parametrize("options", [{"delay": 0}, {"delay": timedelta(0)}])
def test_no_delay_is_no_delay(options: dict[str, Any]) -> None:
    assert _prepared(**options).job.delay_ms == 0


def test_the_same_key_is_the_same_job() -> None:
    assert _prepared(idempotency_key="k").job.key == _prepared(idempotency_key="k").job.key
    assert _prepared(idempotency_key="k").job.key != _prepared(idempotency_key="l").job.key


def test_a_message_that_is_too_large_is_refused_with_what_to_change() -> None:
    with pytest.raises(MessageTooLarge, match="at most 10,000 are allowed; pass a path or URL instead"):
        _prepared(Note(text="x" * 20_000))


@pytest.mark.parametrize("text", [object(), 2**70, "\ud800"])
def test_a_message_that_cannot_be_sent_is_refused(text: object) -> None:
    with pytest.raises(MessageInvalid):
        _prepared(Note(text=text))


@tool
async def add(a: int, b: int) -> int:
    return a + b


async def plain() -> None: ...


@pytest.fixture
async def client(one_broker_url: str) -> AsyncIterator[Client]:
    async with Client(one_broker_url) as client:
        yield client


async def test_arguments_are_checked_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(ArgumentsInvalid):
        await client.submit(add, {"a": 1, "b": "two"})
    with pytest.raises(ArgumentsInvalid):
        await client.submit_many([(add, {"a": 1, "b": 2}), (add, {"a": 1})])


async def test_a_function_that_is_not_a_tool_is_refused_with_what_to_change(client: Client) -> None:
    with pytest.raises(ToolInvalid, match="'plain' is not a tool: decorate it with @tool"):
        await client.submit(plain)


async def test_an_invalid_tool_name_is_refused(client: Client) -> None:
    for name in ("os:system", "../x", "", "ѕum"):  # noqa: RUF001 - a Cyrillic letter
        with pytest.raises(ConfigError, match="is not a valid tool name"):
            await client.submit(name)


async def test_a_job_without_delay_is_queued_at_once(client: Client) -> None:
    job = await client.submit(add, {"a": 1, "b": 2}, delay=0)
    assert (await job.status()).state is State.QUEUED


async def test_an_invalid_job_id_is_refused(client: Client) -> None:
    """Whoever handles jobs that are not there handles it too."""
    for job_id in ("", "x", "default-short", "default-" + "é" * 24, "no queue-" + "a" * 24, "q~1~2-" + "a" * 24):
        for kind in (JobNotFound, ConfigError):
            with pytest.raises(kind, match="is not a job id") as caught:
                client.job(job_id)
            assert pickle.loads(pickle.dumps(caught.value)).job_id == job_id
