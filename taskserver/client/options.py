"""The options of a submit: checked, and turned into the job that the broker stores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec

from taskserver.domain.ids import key_for
from taskserver.domain.job import ON_EXISTING, NewJob
from taskserver.domain.lanes import lane_for
from taskserver.domain.messages import BaseMessage, Envelope, digest, pack, summary_beside
from taskserver.domain.names import check_queue_name, did_you_mean
from taskserver.domain.signing import Keyring
from taskserver.errors import ConfigError
from taskserver.tools import codec


class SubmitOptions(TypedDict, total=False):
    """Options of ``submit``, ``submit_many`` and ``send``. Durations are seconds or a ``timedelta``.

    Attributes:
        queue: The job's queue; by default the tool's, or else the client's.
        priority: 1 (most urgent) to 10, or ``high``, ``normal`` or ``low``.
        delay: Time to wait before the job may start.
        at: Earliest time at which the job may start: a ``datetime`` with a time zone, or seconds since 1970.
        idempotency_key: The same key in the same queue means the same job, for as long as its record is kept: a day
            after its end, 30 days for a dead letter. With another tool or other arguments, ``JobConflict`` is raised.
        on_existing: What to do if the job of the ``idempotency_key`` has already ended: ``return`` its handle, which is
            the default, ``rerun`` it, or ``raise`` ``JobConflict``. The handle's ``existed`` says that it was there.
        timeout: Maximum time for one attempt.
        max_retries: Maximum number of attempts after the first.
        expires: The job ends as ``expired`` if no worker starts it within this time.
        result_ttl: How long the record and result are kept after the job has ended; one day by default.
        session_id: A label of your own for grouping related jobs.
        tags: More labels of your own.
    """

    queue: str
    priority: int | str
    delay: float | timedelta
    at: datetime | float
    idempotency_key: str
    on_existing: Literal["return", "rerun", "raise"]
    timeout: float | timedelta
    max_retries: int
    expires: float | timedelta
    result_ttl: float | timedelta
    session_id: str
    tags: Iterable[str]


class Declaration(NamedTuple):
    """What is declared for the jobs of a tool or message type.

    Retries and timeout are missing: the worker takes those from its own declaration of the tool.

    Attributes:
        name: Name of the tool or message type.
        queue: The queue, unless an option gives another.
        lane: The lane, unless an option gives a priority; None for ``normal``.
        returns: The type of the result.
        secrets: Names of the message's fields that are declared secret.
    """

    name: str
    queue: str
    lane: str | None = None
    returns: Any = Any
    secrets: frozenset[str] = frozenset()


class PreparedJob(msgspec.Struct, frozen=True, gc=False):
    """A job that is ready to be sent to a queue, and what is declared for it."""

    queue: str
    job: NewJob
    declaration: Declaration


def prepare(
    message: BaseMessage,
    options: Mapping[str, Any],
    declaration: Declaration,
    new_key: Callable[[], str],
    max_bytes: int,
) -> PreparedJob:
    """Check the options of a submit, and make the job that it writes.

    Raises:
        ConfigError: for an option that is unknown or cannot work.
        MessageInvalid, MessageTooLarge: if the message cannot be sent.
    """
    body, secrets = _body(message, declaration.secrets)
    now_ms = time.time_ns() // 1_000_000
    if not options:
        envelope = Envelope.of(message, body, submitted_ms=now_ms, secrets=secrets)
        payload = pack(envelope, max_bytes)
        about = summary_beside(envelope, message, len(payload))
        job = NewJob(new_key(), payload, declaration.lane or "normal", about=about)
        return PreparedJob(declaration.queue, job, declaration)
    given = _checked(options)
    key = given.get("idempotency_key")
    envelope = Envelope.of(
        message,
        body,
        submitted_ms=now_ms,
        timeout=given.get("timeout"),
        idempotency_key=key,
        session_id=given.get("session_id"),
        tags=given.get("tags", ()),
        secrets=secrets,
    )
    payload = pack(envelope, max_bytes)
    job = NewJob(
        key=new_key() if key is None else key_for(key),
        payload=payload,
        lane=given.get("priority") or declaration.lane or "normal",
        max_attempts=given.get("max_retries"),
        delay_ms=_milliseconds(given.get("delay")),
        due_ms=_milliseconds(given.get("at")),
        expires_ms=_milliseconds(given.get("expires")),
        result_ttl_ms=_milliseconds(given.get("result_ttl")),
        about=summary_beside(envelope, message, len(payload)),
        digest="" if key is None else digest(message.message_type, body),
        call="" if key is None else os.urandom(6).hex(),
        on_existing=given.get("on_existing", "return"),
    )
    return PreparedJob(given.get("queue", declaration.queue), job, declaration)


def sealed(keyring: Keyring, partition: str, job: NewJob) -> NewJob:
    """The job with its message signed; the signature is valid in this partition only."""
    start_ms = max(time.time_ns() // 1_000_000 + job.delay_ms, job.due_ms)
    seal = keyring.seal(partition, job.key, job.payload, start_ms)
    return msgspec.structs.replace(job, payload=seal + job.payload)


def _body(message: BaseMessage, declared: frozenset[str]) -> tuple[bytes, tuple[str, ...]]:
    """The packed message, and the names of its fields that are secret."""
    body, given = codec.encode_message(message)
    return body, tuple(sorted(declared | given)) if given or declared else ()


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Each option in the form in which it is stored; None counts as not given."""
    given = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise ConfigError(f"unknown option {name!r}{did_you_mean(name, _CHECKS)}")
        if value is not None:
            given[name] = check(name, value)
    if "delay" in given and "at" in given:
        raise ConfigError("use either delay or at, not both")
    if "on_existing" in given and "idempotency_key" not in given:
        raise ConfigError("on_existing requires an idempotency_key: without one, every job is new")
    return given


def _seconds(name: str, value: Any, least: float = 0.001) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not least <= seconds < 10**10:
        raise ConfigError(f"{name} must be a number of seconds or a timedelta of at least {least:g} s, not {value!r}")
    return float(seconds)


def _moment(name: str, value: Any) -> float:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigError(f"{name} has no time zone: pass a datetime with one, such as datetime.now(UTC)")
        value = value.timestamp()
    return _seconds(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} must be a non-empty string, not {value!r}")
    return value


def _on_existing(name: str, value: Any) -> str:
    if value not in ON_EXISTING:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, ON_EXISTING))}, not {value!r}")
    return str(value)


def _tags(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} must be a list of strings, not {value!r}")
    return tuple(_text(name, tag) for tag in value)


def _attempts(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
        raise ConfigError(f"{name} must be an integer between 0 and 1000, not {value!r}")
    return value + 1


def _milliseconds(seconds: float | None) -> int:
    return max(1, round(seconds * 1000)) if seconds else 0


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "queue": lambda name, value: check_queue_name(_text(name, value)),
    "priority": lambda _, value: lane_for(value),
    "delay": lambda name, value: _seconds(name, value, least=0),
    "at": _moment,
    "idempotency_key": _text,
    "on_existing": _on_existing,
    "timeout": _seconds,
    "max_retries": _attempts,
    "expires": _seconds,
    "result_ttl": _seconds,
    "session_id": _text,
    "tags": _tags,
}
