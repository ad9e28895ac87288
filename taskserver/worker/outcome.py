"""How an attempt ends: ``decide`` leads from what happened to what is to be done about it.

Nothing else judges that. An attempt that failed takes a second step: the executor asks its consumer whether another one
may help, and ``decide_failure`` judges with the answer. Neither function does I/O, draws a random number or awaits
anything, so all cases fit into one table of tests: ``tests/worker/test_outcome.py``.
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

_encode = msgspec.msgpack.Encoder().encode


class StopReason(Enum):
    """Why a running attempt is stopped. The value completes the sentence "did not stop after …"."""

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


class Returned(NamedTuple):
    """The tool returned."""

    opened: Opened
    result: Any


class Raised(NamedTuple):
    """The tool raised, or was interrupted."""

    opened: Opened
    error: BaseException


class Unfinished(NamedTuple):
    """The attempt was stopped before it began, when it may not be opened yet; or it was stopped and does not end."""

    opened: Opened | None


class UsedUp(NamedTuple):
    """It was not run: all attempts of the job had begun before, and none of them had ended."""

    opened: Opened


class Unknown(NamedTuple):
    """This worker has no such tool, or no consumer of such messages; another one may have."""

    error: Exception


class Unreadable(NamedTuple):
    """The message cannot be read, or its signature is not valid."""

    error: Exception


class Broken(NamedTuple):
    """Something other than the tool failed: a consumer's plan, or a bug of ours."""

    error: BaseException


Redact = Callable[[], Callable[[str], str]]
Ending = Returned | Raised | Unfinished | UsedUp | Unknown | Unreadable | Broken


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
        settlement: What to settle; None for nothing, since the job is another worker's now.
        hook: The consumer's hook to call before that; None for none.
        line: What to log; empty for nothing.
        level: The log level.
    """

    settlement: Settlement | None
    hook: Callable[[], Awaitable[None]] | None = None
    line: str = ""
    level: int = logging.INFO


class Failed(NamedTuple):
    """The attempt failed with this error, which is to be shown to its consumer: see ``decide_failure``."""

    opened: Opened
    error: BaseException


def decide(
    stop: StopReason | None, ending: Ending, job: ClaimedJob, rules: ResultRules, redact: Redact
) -> Decision | Failed:
    """What is to be done about the end of an attempt; if it failed, only its error.

    When an attempt was stopped, that is why it ended, whatever else it returned or raised. There is one exception: an
    attempt that is to be released may still return, and then its job is done.

    Args:
        stop: Why it was stopped; None if it was not.
        ending: How it ended.
        job: Its job.
        rules: What is stored of results.
        redact: Returns what takes the message's secrets out of a text; called only if there is an error to store.
    """
    if stop is StopReason.LOST:
        return Decision(None)
    if stop is StopReason.CANCEL:
        return Decision(_finish(job, State.CANCELLED, b""))
    if stop is StopReason.TIMEOUT and isinstance(ending, Returned | Raised | Unfinished) and ending.opened is not None:
        return Failed(ending.opened, _timed_out(ending.opened))
    if isinstance(ending, Returned):
        return _returned(ending, job, rules)
    if stop is not None or isinstance(ending, Unfinished):
        return Decision(Release(job.key, job.fence))
    if isinstance(ending, Raised):
        return _raised(ending)
    return _not_run(ending, job, redact)


def decide_failure(failed: Failed, job: ClaimedJob, wait: float | None, redact: Redact) -> Decision:
    """What is to be done about a failed attempt: retry if its consumer agrees and an attempt is left; else end the job.

    Args:
        failed: The error.
        job: The attempt's job.
        wait: Seconds to wait before the next attempt; None if the consumer sees no use in one.
        redact: As for ``decide``.
    """
    opened, error = failed
    failure = failure_of(error, redact())
    text = f"{failure.type}: {failure.message[:LOGGED_CHARACTERS]}"
    if wait is not None and job.attempt < opened.max_attempts:
        retry = Retry(job.key, job.fence, max(1, round(wait * 1000)), _encode(failure))
        return Decision(retry, line=f"job {job.id}: attempt {job.attempt} failed, retrying in {wait:.2f} s: {text}")
    final, verb = (State.FAILED, "failed") if wait is None else (State.DEAD, "is dead")
    hook = partial(opened.consumer.on_failure, error, opened.message)
    line = f"job {job.id} {verb} after {job.attempt} {'attempts' if job.attempt > 1 else 'attempt'}: {text}"
    return Decision(_finish(job, final, _encode(failure)), hook, line, logging.WARNING)


def _returned(ending: Returned, job: ClaimedJob, rules: ResultRules) -> Decision | Failed:
    opened = ending.opened
    try:
        data = codec.encode(ending.result, max_bytes=rules.max_bytes)
    except ResultInvalid as error:
        return Failed(opened, error)
    summary = b"" if rules.keep_messages else summarize(opened.envelope, opened.plan.name)
    consumer = opened.consumer
    hook = partial(consumer.on_success, ending.result, opened.message) if consumer.has_success_hook else None
    return Decision(Finish(job.key, job.fence, job.attempt, State.SUCCEEDED, data, job.entry, summary), hook)


def _raised(ending: Raised) -> Failed:
    error = ending.error
    if isinstance(error, CancelledError):
        error = RuntimeError("the tool was cancelled by its own code")
    return Failed(ending.opened, error)


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
