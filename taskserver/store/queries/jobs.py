"""Reading jobs: status, events, keys.

Fields of a job's hash (all optional but ``state``; times in milliseconds by the broker's clock):

``state``; ``entry`` (its live stream entry, ``lane/id``); ``lane``; ``max`` (attempts); ``ttl``; ``due``;
``expires``; ``attempt``; ``fence``; ``worker``; ``started``; ``cancel`` (when it was requested); ``progress``
(packed); ``ended``; ``data`` (packed result or error, if short); ``said`` (fence and number of the last report);
``events`` (how many there were); ``history`` (1 if there is any); ``unknown`` (since when no worker could run it);
``question`` and ``answer`` (packed); ``asked`` (when); ``moved`` (1 if it got a new entry while it ran); ``kept``
(packed ``JobSummary``, in place of the message); ``about`` (the same beside a long message, so that lists need not read
it); with an idempotency key, ``digest`` (of the message) and ``call`` (a name of the submit).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec

from taskserver.config.settings import secret_names
from taskserver.domain.events import START, Event, EventKind, Report, gap_before, just_below, number_after, number_of
from taskserver.domain.ids import JobRef
from taskserver.domain.job import AttemptRecord, Failure, JobStatus, State
from taskserver.domain.messages import Envelope, JobSummary, unpack
from taskserver.domain.partitions import queue_of
from taskserver.domain.secrets import SecretNames, masked
from taskserver.store.broker.connection import Broker
from taskserver.store.queries.outcomes import EXPIRED_AT_ONCE, STATES
from taskserver.store.queries.untrusted import LAST_MS, fraction, number, unpacked
from taskserver.store.replies import decode, grouped, milliseconds_of

PAGE = 500
SHOWN = 200
"""Maximum number of characters of a name, which anybody may have written."""

_records = msgspec.msgpack.Decoder(AttemptRecord)
_failures = msgspec.msgpack.Decoder(Failure)
_reports = msgspec.msgpack.Decoder(Report)
_summaries = msgspec.msgpack.Decoder(JobSummary)
_progress = msgspec.msgpack.Decoder(tuple[float, str])
_FIELDS = [
    b"state", b"data", b"kept", b"about", b"lane", b"max", b"due", b"attempt", b"worker", b"started", b"cancel",
    b"progress", b"ended", b"expires",
]  # fmt: skip
"""The script takes the first four in this order."""


class KeyPage(NamedTuple):
    """A page of job keys, and the cursor of the next page; 0 after the last one."""

    cursor: int
    keys: list[str]


async def statuses(broker: Broker, queue: str, keys: Sequence[str], *, brief: bool = False) -> list[JobStatus | None]:
    """What is known about jobs; None for an unknown job.

    Args:
        broker: Where.
        queue: Their queue.
        keys: Which.
        brief: Leave out arguments and history, so that little is read however large messages are.
    """
    found: list[JobStatus | None] = []
    while left := keys[len(found) :]:
        found += await first_statuses(broker, queue, left, brief=brief)
    return found


async def first_statuses(
    broker: Broker, queue: str, keys: Sequence[str], *, brief: bool = False
) -> list[JobStatus | None]:
    """The same in one round trip; if they are large, only for the first jobs, at least one.

    Jobs whose time to start is over, by this machine's clock, end here: there may be no worker to end them.
    """
    mode = "brief" if brief else "all"
    found = await _first_statuses(broker, queue, keys, mode)
    overdue = [key for key, each in zip(keys, found, strict=False) if each is not None and _is_overdue(each)]
    if overdue:
        await broker.run("expire", queue, EXPIRED_AT_ONCE, *overdue)
        found = await _first_statuses(broker, queue, keys, mode)
    return found


async def _first_statuses(broker: Broker, queue: str, keys: Sequence[str], mode: str) -> list[JobStatus | None]:
    answer = await broker.run("statuses", queue, mode, len(_FIELDS), *_FIELDS, *keys)
    return [_status(queue, key, *reply) for key, reply in zip(keys, grouped(answer, 4), strict=False)]


def _is_overdue(job: JobStatus) -> bool:
    """Whether the job should have started, or its question have been answered, by now."""
    waits = job.state is State.WAITING or (job.state in (State.QUEUED, State.DELAYED) and not job.attempt)
    return waits and job.expires_at is not None and job.expires_at <= time.time()


async def events(broker: Broker, job: JobRef, after: str = START) -> list[Event]:
    """The job's next events after the cursor ``after``, oldest first, and gaps where some are missing.

    They are at most ``PAGE``, and fewer if they are large; none only if there are no more.

    Raises:
        ConfigError: if ``after`` is not a cursor of this job.
    """
    expected = number_after(job, after)
    found: list[Event] = []
    for id_, fields in await broker.run("events", job.queue, job.key, after, PAGE):
        event = _event(id_, dict(zip(fields[::2], fields[1::2], strict=True)))
        position = number_of(job, event.cursor)
        if expected and position and position > expected:
            found.append(gap_before(event, position - expected))
        found.append(event)
        expected = position + 1 if position else None
    return found


async def attempt_at(broker: Broker, job: JobRef, cursor: str) -> int | None:
    """The attempt of the event at a cursor that ``events`` accepts; None if there is none.

    Before the first event it is 1, so that a reader learns when that is of a later attempt.
    """
    before = just_below(cursor)
    if before is None:
        return 1
    for id_, fields in await broker.run("events", job.queue, job.key, before, 1):
        event = _event(id_, dict(zip(fields[::2], fields[1::2], strict=True)))
        return event.attempt or None if event.cursor == cursor else None
    return None


def _event(id_: bytes, fields: dict[bytes, bytes]) -> Event:
    report = unpacked(_reports, fields.get(b"report")) or Report(EventKind.OUTPUT, "(unreadable event)\n")
    return Event(
        cursor=id_.decode(),
        kind=report.kind,
        attempt=number(fields, b"attempt") or 0,
        text=report.text,
        progress=fraction(report.progress),
        at=milliseconds_of(id_) / 1000,
    )


async def scan(broker: Broker, queue: str) -> AsyncIterator[list[str]]:
    """The keys of all jobs of a queue, in no order, page by page; as with SCAN, none that stays is missed."""
    cursor, keys = await scan_page(broker, queue, 0)
    yield keys
    while cursor:
        cursor, keys = await scan_page(broker, queue, cursor)
        yield keys


async def scan_page(broker: Broker, queue: str, cursor: int) -> KeyPage:
    """One page of ``scan`` from ``cursor`` (0 for the first one)."""
    prefix = broker.keys(queue).job("")
    cursor, found = await broker.ask(prefix, lambda client: client.scan(cursor, match=f"{prefix}*", count=PAGE))
    return KeyPage(cursor, [decode(name)[len(prefix) :] for name in found])


def failure(data: bytes) -> Failure:
    """A packed error; a placeholder if it cannot be read."""
    return unpacked(_failures, data) or Failure("Unreadable", "the recorded error cannot be read")


def _status(
    queue: str,
    key: str,
    values: list[bytes | None],
    payload: bytes,
    long: bytes,
    history: list[bytes],
) -> JobStatus | None:
    fields = {name: value for name, value in zip(_FIELDS, values, strict=False) if value is not None}
    state = STATES.get(fields.get(b"state", b""))
    if state is None:
        return None
    data = fields.get(b"data") or long
    summary = fields.get(b"kept") or (None if payload else fields.get(b"about"))
    progress, progress_text = unpacked(_progress, fields.get(b"progress")) or (None, "")
    return JobStatus(
        id=f"{queue}-{key}",
        queue=queue_of(queue),
        state=state,
        attempt=number(fields, b"attempt") or 0,
        max_attempts=number(fields, b"max"),
        progress=fraction(progress),
        progress_text=progress_text,
        lane=decode(fields.get(b"lane", b"normal")[:SHOWN]),
        due_at=_seconds(fields, b"due"),
        expires_at=_seconds(fields, b"expires"),
        started_at=_seconds(fields, b"started"),
        ended_at=_seconds(fields, b"ended"),
        worker=decode(fields.get(b"worker", b"")[:SHOWN]),
        cancel_requested=b"cancel" in fields,
        error=failure(data) if data and state is not State.SUCCEEDED else None,
        history=[record for packed in history if (record := unpacked(_records, packed))],
        **message_fields(payload, unpacked(_summaries, summary)),
    )


def message_fields(payload: bytes, summary: JobSummary | None = None) -> dict[str, Any]:
    """The fields of a status that come from the message or its summary; none if that is gone or unreadable."""
    if summary is not None:
        return _summary_fields(summary.tool, summary)
    try:
        envelope = unpack(payload)
        body = msgspec.msgpack.decode(envelope.body)
    except Exception:  # noqa: BLE001 - whatever it is, it is not a message of ours
        return {}
    tool, arguments = _tool_call(envelope, body)
    return {
        **_summary_fields(tool, envelope),
        "arguments": masked(arguments, SecretNames((*envelope.secrets, *secret_names()))),
    }


def _summary_fields(tool: str, message: Envelope | JobSummary) -> dict[str, Any]:
    return {
        "tool": tool[:SHOWN],
        "submitted_at": message.submitted_ms / 1000 if 0 <= message.submitted_ms <= LAST_MS else None,
        "session_id": message.session_id,
        "tags": list(message.tags),
        "idempotency_key": message.idempotency_key,
    }


class _ToolCall(NamedTuple):
    tool: str
    arguments: Any


def _tool_call(envelope: Envelope, body: Any) -> _ToolCall:
    if envelope.type == "ToolExecutionMessage" and isinstance(body, dict):
        return _ToolCall(str(body.get("tool_name", ""))[:SHOWN], body.get("tool_args", {}))
    return _ToolCall(envelope.type[:SHOWN], body)


def _seconds(fields: dict[bytes, bytes], name: bytes) -> float | None:
    milliseconds = number(fields, name)
    return None if milliseconds is None else milliseconds / 1000
