"""What may be said with a submit, checked and turned into what the broker stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

import msgspec

from taskserver.domain.ids import key_for
from taskserver.domain.job import NewJob
from taskserver.domain.lanes import lane_for
from taskserver.domain.messages import BaseMessage, Envelope, pack
from taskserver.domain.names import check_queue_name, did_you_mean
from taskserver.domain.signing import Keyring
from taskserver.errors import ConfigError, MessageInvalid, ResultInvalid
from taskserver.tools import codec


class SubmitOptions(TypedDict, total=False):
    """Options of ``submit``, ``submit_many`` and ``send``. Durations are seconds or a ``timedelta``.

    Attributes:
        queue: Where the job goes; else the tool's queue, else the client's.
        priority: 1 (most urgent) to 10, or ``high``, ``normal``, ``low``.
        delay: Start no sooner than this from now.
        at: Start no sooner than this moment: an aware ``datetime``, or seconds since 1970.
        idempotency_key: The same key in the same queue is the same job, while its record is kept.
        timeout: How long one attempt may take.
        max_retries: Attempts after the first.
        expires: If no worker has started it within this, it ends as ``expired``.
        result_ttl: How long its record and result are kept after it ended; a day unless said otherwise.
        session_id: Yours to find related jobs by.
        tags: The same.
    """

    queue: str
    priority: int | str
    delay: float | timedelta
    at: datetime | float
    idempotency_key: str
    timeout: float | timedelta
    max_retries: int
    expires: float | timedelta
    result_ttl: float | timedelta
    session_id: str
    tags: Iterable[str]


class Defaults(NamedTuple):
    """What holds where the options are silent: the tool's own declaration, or the client's settings.

    How often it is tried is not among them: that says the worker's declaration of the tool.

    ``secrets`` are the names of the message's fields that are declared so.
    """

    queue: str
    lane: str | None = None
    secrets: frozenset[str] = frozenset()


def build(
    message: BaseMessage,
    options: Mapping[str, Any],
    defaults: Defaults,
    new_key: Callable[[], str],
    max_bytes: int,
) -> tuple[str, NewJob]:
    """The queue and the job that a submit writes.

    Raises:
        ConfigError: for an option that is unknown or cannot work.
        MessageInvalid, MessageTooLarge: if the message cannot be sent.
    """
    body, secrets = _body(message, defaults.secrets)
    now_ms = time.time_ns() // 1_000_000
    if not options:
        payload = pack(Envelope.of(message, body, submitted_ms=now_ms, secrets=secrets), max_bytes)
        return defaults.queue, NewJob(new_key(), payload, defaults.lane or "normal")
    said = _checked(options)
    key = said.get("idempotency_key")
    envelope = Envelope.of(
        message,
        body,
        submitted_ms=now_ms,
        timeout=said.get("timeout"),
        idempotency_key=key,
        session_id=said.get("session_id"),
        tags=said.get("tags", ()),
        secrets=secrets,
    )
    job = NewJob(
        key=new_key() if key is None else key_for(key),
        payload=pack(envelope, max_bytes),
        lane=said.get("priority") or defaults.lane or "normal",
        max_attempts=said.get("max_retries"),
        delay_ms=_milliseconds(said.get("delay")),
        due_ms=_milliseconds(said.get("at")),
        expires_ms=_milliseconds(said.get("expires")),
        result_ttl_ms=_milliseconds(said.get("result_ttl")),
    )
    return said.get("queue", defaults.queue), job


def sealed(keyring: Keyring, partition: str, job: NewJob) -> NewJob:
    """The job with its message signed, for the partition that it goes to and no other."""
    start_ms = max(time.time_ns() // 1_000_000 + job.delay_ms, job.due_ms)
    seal = keyring.seal(partition, job.key, job.payload, start_ms)
    return msgspec.structs.replace(job, payload=seal + job.payload)


def _body(message: BaseMessage, declared: frozenset[str]) -> tuple[bytes, tuple[str, ...]]:
    """The packed message, and the names of its fields that are secret."""
    try:
        body, given = codec.encode_message(message)
    except ResultInvalid as error:
        raise MessageInvalid(str(error)) from None
    return body, tuple(sorted(declared | given)) if given or declared else ()


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Each option in the form it is stored in; None counts as not said."""
    said = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise ConfigError(f"there is no option {name!r}{did_you_mean(name, _CHECKS)}")
        if value is not None:
            said[name] = check(name, value)
    if "delay" in said and "at" in said:
        raise ConfigError("say either delay or at, not both")
    return said


def _seconds(name: str, value: Any, least: float = 0.001) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not least <= seconds < 10**10:
        raise ConfigError(f"{name} must be a number of seconds or a timedelta, at least {least:g}, not {value!r}")
    return float(seconds)


def _moment(name: str, value: Any) -> float:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigError(f"{name} has no time zone: use datetime.now(UTC), or seconds since 1970")
        value = value.timestamp()
    return _seconds(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} must be a text of at least one character, not {value!r}")
    return value


def _tags(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} must be several texts, not {value!r}")
    return tuple(_text(name, tag) for tag in value)


def _attempts(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
        raise ConfigError(f"{name} must be a whole number from 0 to 1000, not {value!r}")
    return value + 1


def _milliseconds(seconds: float | None) -> int:
    return max(1, round(seconds * 1000)) if seconds else 0


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "queue": lambda name, value: check_queue_name(_text(name, value)),
    "priority": lambda _, value: lane_for(value),
    "delay": lambda name, value: _seconds(name, value, least=0),
    "at": _moment,
    "idempotency_key": _text,
    "timeout": _seconds,
    "max_retries": _attempts,
    "expires": _seconds,
    "result_ttl": _seconds,
    "session_id": _text,
    "tags": _tags,
}
