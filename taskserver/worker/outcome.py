"""How an attempt ends: ``decide`` goes from what happened to what is to be done about it.

This is the only place that judges it. It is a function without I/O that awaits nothing, so all of its cases are in one
table: ``tests/worker/test_outcome.py``.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import msgspec

from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.messages import BaseMessage, Envelope, summarize
from taskserver.domain.settlement import Defer, Finish, Release, Retry, Settlement
from taskserver.errors import ResultInvalid
from taskserver.tools import BaseConsumer, RunPlan, codec
from taskserver.tools.failures import failure_of

LOGGED_CHARACTERS = 500
"""How much of an error's text is logged; all of it is in the job's status."""

log = logging.getLogger("taskserver.worker")

_encode = msgspec.msgpack.Encoder().encode


class StopReason(Enum):
    """Why a running attempt is told to end. The value completes "did not stop after …"."""

    CANCEL = "its cancellation"
    """Somebody cancelled the job."""
    TIMEOUT = "its timeout"
    """It took longer than it may."""
    LOST = "the loss of its lease"
    """The lease went to another worker; nothing that this one writes counts any more."""
    RELEASE = "its release"
    """The worker stops and hands the job back."""


class Opened(NamedTuple):
    """A job whose message has been read and whose consumer is known."""

    envelope: Envelope
    consumer: BaseConsumer[Any]
    message: BaseMessage
    plan: RunPlan
    max_attempts: int

    @property
    def limit(self) -> float | None:
        """Seconds that the attempt may take: as submitted, else as the tool declares."""
        return self.envelope.timeout or self.plan.timeout

    def may_retry(self, error: BaseException) -> bool:
        """Whether another attempt may help, as the consumer sees it."""
        try:
            return self.consumer.should_retry(error, self.message)
        except Exception:
            log.exception("%s: should_retry failed; the default rule applies", self.plan.name)
            return BaseConsumer.should_retry(self.consumer, error, self.message)


class Returned(NamedTuple):
    """The tool returned."""

    opened: Opened
    result: Any


class Raised(NamedTuple):
    """The tool raised, or was interrupted."""

    opened: Opened
    error: BaseException


class Unended(NamedTuple):
    """The attempt was told to end before it began (then it may not be opened), or was told to end and goes on."""

    opened: Opened | None


class UsedUp(NamedTuple):
    """It was not run: all attempts that the job has were begun before, and none of them ended."""

    opened: Opened


class Unknown(NamedTuple):
    """This worker has no such tool, or no consumer of such messages; another one may have."""

    error: Exception


class Unreadable(NamedTuple):
    """The message cannot be read, or its signature is not valid."""

    error: Exception


class Broken(NamedTuple):
    """Not the tool failed but something around it: a consumer's plan, or a bug of ours."""

    error: BaseException


Redact = Callable[[], Callable[[str], str]]
Ending = Returned | Raised | Unended | UsedUp | Unknown | Unreadable | Broken


class WorkerLost(Exception):
    """The error of a job whose attempts were all begun and never ended."""


class ResultRules(NamedTuple):
    """What is stored of a job that succeeds.

    Attributes:
        max_bytes: The largest result that is stored; a larger one fails the job.
        keep_messages: Whether the whole message is kept, too.
    """

    max_bytes: int
    keep_messages: bool = False


class Decision(msgspec.Struct, frozen=True):
    """What is to be done about an ending.

    Attributes:
        settlement: What the broker is told; None for nothing: the job is another worker's now.
        hook: The consumer's hook, to be called before that; None for none.
        line: What is logged; empty for nothing.
        level: The level of that.
    """

    settlement: Settlement | None
    hook: Callable[[], Awaitable[None]] | None = None
    line: str = ""
    level: int = logging.INFO


def decide(stop: StopReason | None, ending: Ending, job: ClaimedJob, rules: ResultRules, redact: Redact) -> Decision:
    """What is to be done about the end of an attempt.

    Whatever comes of an attempt that was told to end, being told is the reason. Only the result of one that was to be
    released counts: the job is done.

    Args:
        stop: Why it was told to end; None if it was not.
        ending: How it ended.
        job: Its job.
        rules: What is stored of results.
        redact: Makes what takes the message's secrets out of a text; called only where there is an error to tell of.
    """
    if stop is StopReason.LOST:
        return Decision(None)
    if stop is StopReason.CANCEL:
        return Decision(_finish(job, State.CANCELLED, b""))
    if stop is StopReason.TIMEOUT and isinstance(ending, Returned | Raised | Unended) and ending.opened is not None:
        return _failed(_timed_out(ending.opened), ending.opened, job, redact)
    if isinstance(ending, Returned):
        return _returned(ending, job, rules, redact)
    if stop is not None or isinstance(ending, Unended):
        return Decision(Release(job.key, job.fence))
    if isinstance(ending, Raised):
        return _raised(ending, job, redact)
    return _not_run(ending, job, redact)


def _returned(ending: Returned, job: ClaimedJob, rules: ResultRules, redact: Redact) -> Decision:
    opened = ending.opened
    try:
        data = codec.encode(ending.result, max_bytes=rules.max_bytes)
    except ResultInvalid as error:
        return _failed(error, opened, job, redact)
    summary = b"" if rules.keep_messages else summarize(opened.envelope, opened.plan.name)
    consumer = opened.consumer
    hook = partial(consumer.on_success, ending.result, opened.message) if consumer.has_success_hook else None
    return Decision(Finish(job.key, job.fence, job.attempt, State.SUCCEEDED, data, job.entry, summary), hook)


def _raised(ending: Raised, job: ClaimedJob, redact: Redact) -> Decision:
    error = ending.error
    if isinstance(error, CancelledError):
        return _failed(RuntimeError("the tool was cancelled by its own code"), ending.opened, job, redact)
    return _failed(error, ending.opened, job, redact)


def _failed(error: BaseException, opened: Opened, job: ClaimedJob, redact: Redact) -> Decision:
    """Another attempt follows if the consumer agrees and there is one left; else the consumer hears of it."""
    final = State.DEAD if opened.may_retry(error) else State.FAILED
    failure = failure_of(error, redact())
    text = f"{failure.type}: {failure.message[:LOGGED_CHARACTERS]}"
    if final is State.DEAD and job.attempt < opened.max_attempts:
        wait = opened.plan.retry.wait(job.attempt)
        retry = Retry(job.key, job.fence, max(1, round(wait * 1000)), _encode(failure))
        return Decision(retry, line=f"job {job.id}: attempt {job.attempt} failed, retrying in {wait:.2f} s: {text}")
    hook = partial(opened.consumer.on_failure, error, opened.message)
    verb, attempts = ("is dead" if final is State.DEAD else "failed"), "attempts" if job.attempt > 1 else "attempt"
    line = f"job {job.id} {verb} after {job.attempt} {attempts}: {text}"
    return Decision(_finish(job, final, _encode(failure)), hook, line, logging.WARNING)


def _not_run(ending: UsedUp | Unknown | Unreadable | Broken, job: ClaimedJob, redact: Redact) -> Decision:
    match ending:
        case UsedUp(opened):  # it may be what killed those workers
            spent = opened.max_attempts
            lost = WorkerLost(f"all {spent} attempts are used up, the last by a worker that died or was lost")
            finish = _finish(job, State.DEAD, _encode(failure_of(lost)))._replace(attempts=spent)
            hook = partial(opened.consumer.on_failure, lost, opened.message)
            return Decision(finish, hook, f"job {job.id} is a dead letter: {lost}", logging.WARNING)
        case Unknown(error):
            line = f"job {job.id} is left for another worker: {error}"
            return Decision(Defer(job.key, job.fence, _encode(failure_of(error))), line=line)
        case Unreadable(error):
            failure = failure_of(error, redact())
            line = f"job {job.id} is a dead letter: {failure.message}"
            return Decision(_finish(job, State.DEAD, _encode(failure)), line=line, level=logging.WARNING)
        case Broken(error):
            return Decision(_finish(job, State.FAILED, _encode(failure_of(error, redact()))))


def _finish(job: ClaimedJob, state: State, data: bytes) -> Finish:
    return Finish(job.key, job.fence, job.attempt, state, data, job.entry)


def _timed_out(opened: Opened) -> TimeoutError:
    return TimeoutError(f"the attempt took longer than its timeout of {opened.limit or 0:g} s")
