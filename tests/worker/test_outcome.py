"""Every way in which an attempt can end, and what is done about it: one table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from taskserver import BaseConsumer, BaseMessage, Context, RetryPolicy, State
from taskserver.domain.job import ClaimedJob, Failure
from taskserver.domain.messages import Envelope
from taskserver.domain.settlement import Defer, Finish, Release, Retry
from taskserver.errors import MessageInvalid, PermanentError, ToolNotFound
from taskserver.worker.executor import wait_before_retry
from taskserver.worker.outcome import (
    Broken,
    Decision,
    Ending,
    Failed,
    Opened,
    Raised,
    ResultRules,
    Returned,
    StopReason,
    Unfinished,
    Unknown,
    Unreadable,
    UsedUp,
    decide,
    decide_failure,
)

CANCEL, TIMEOUT, LOST, RELEASE = StopReason.CANCEL, StopReason.TIMEOUT, StopReason.LOST, StopReason.RELEASE


class Letter(BaseMessage):
    text: str = ""


class Quiet(BaseConsumer[Letter]):
    retry = RetryPolicy(delay=0.01)

    async def process(self, message: Letter, ctx: Context) -> None: ...


class Curious(Quiet):
    """Wants to hear of successes too."""

    async def on_success(self, result: Any, message: Letter) -> None: ...


def opened(consumer: BaseConsumer[Letter] | None = None, max_attempts: int = 3) -> Opened:
    consumer = consumer or Quiet()
    message = Letter()
    envelope = Envelope("Letter", msgspec.Raw(msgspec.msgpack.encode(message)), timeout=2.5)
    return Opened(envelope, consumer, message, consumer.plan(message), max_attempts)


def job(attempt: int = 1) -> ClaimedJob:
    return ClaimedJob("mail", "0" * 24, attempt, 7, None, b"", b"normal/1-0")


def decided(stop: StopReason | None, ending: Ending, attempt: int = 1, rules: ResultRules | None = None) -> Decision:
    return judged(stop, ending, job(attempt), rules or ResultRules(1_000), lambda text: text)


def judged(
    stop: StopReason | None, ending: Ending, job: ClaimedJob, rules: ResultRules, redact: Callable[[str], str]
) -> Decision:
    """Both steps, as the executor takes them."""
    decision = decide(stop, ending, job, rules, lambda: redact)
    if isinstance(decision, Failed):
        return decide_failure(decision, job, wait_before_retry(decision, job.attempt), lambda: redact)
    return decision


READ = opened()
AGAIN, HOPELESS = ValueError("no luck"), PermanentError("no way")
ENDINGS: dict[str, tuple[Ending, int]] = {
    "returned": (Returned(READ, 5), 1),
    "returned what cannot be encoded": (Returned(READ, object()), 1),
    "raised": (Raised(READ, AGAIN), 1),
    "raised in the last attempt": (Raised(READ, AGAIN), 3),
    "raised what no attempt fixes": (Raised(READ, HOPELESS), 1),
    "cancelled by its own code": (Raised(READ, asyncio.CancelledError()), 1),
    "does not end": (Unfinished(READ), 1),
    "does not end in the last attempt": (Unfinished(READ), 3),
    "never began": (Unfinished(None), 1),
    "no attempt left": (UsedUp(READ), 4),
    "unknown tool": (Unknown(ToolNotFound("unknown tool 'x'")), 1),
    "unreadable message": (Unreadable(MessageInvalid("noise")), 1),
    "something around the tool failed": (Broken(KeyError("plan")), 1),
}
DECISIONS = {
    None: {
        "returned": "succeeded",
        "returned what cannot be encoded": "failed ResultInvalid",
        "raised": "retry ValueError",
        "raised in the last attempt": "dead ValueError",
        "raised what no attempt fixes": "failed PermanentError",
        "cancelled by its own code": "retry RuntimeError",
        "does not end": "release",
        "does not end in the last attempt": "release",
        "never began": "release",
        "no attempt left": "dead WorkerLost",
        "unknown tool": "defer ToolNotFound",
        "unreadable message": "dead MessageInvalid",
        "something around the tool failed": "failed KeyError",
    },
    TIMEOUT: {
        **dict.fromkeys(ENDINGS, "retry TimeoutError"),
        "raised in the last attempt": "dead TimeoutError",
        "does not end in the last attempt": "dead TimeoutError",
        # An attempt that has not begun to run cannot have run for too long.
        **dict.fromkeys(
            (
                *("never began", "no attempt left", "unknown tool"),
                *("unreadable message", "something around the tool failed"),
            ),
            "release",
        ),
    },
    CANCEL: dict.fromkeys(ENDINGS, "cancelled"),
    LOST: dict.fromkeys(ENDINGS, "nothing"),
    RELEASE: {
        **dict.fromkeys(ENDINGS, "release"),
        "returned": "succeeded",
        "returned what cannot be encoded": "failed ResultInvalid",
    },
}


def summary(decision: Decision) -> str:
    """A decision in short: what becomes of the job, and the error's type."""
    match decision.settlement:
        case None:
            return "nothing"
        case Finish(state=State.SUCCEEDED | State.CANCELLED as state):
            return str(state)
        case Finish(state=state, data=error):
            return f"{state} {_type(error)}"
        case Retry(error=error):
            return f"retry {_type(error)}"
        case Defer(error=error):
            return f"defer {_type(error)}"
        case Release():
            return "release"


def _type(error: bytes) -> str:
    return msgspec.msgpack.decode(error, type=Failure).type


@pytest.mark.parametrize("what", ENDINGS)
@pytest.mark.parametrize("stop", [None, *StopReason])
def test_what_becomes_of_the_job(stop: StopReason | None, what: str) -> None:
    ending, attempt = ENDINGS[what]
    decision = decided(stop, ending, attempt)
    assert summary(decision) == DECISIONS[stop][what]
    if decision.settlement is not None:
        assert (decision.settlement.key, decision.settlement.fence) == ("0" * 24, 7)
    if stop is CANCEL:
        assert isinstance(decision.settlement, Finish)
        assert decision.settlement.data == b""


@pytest.mark.parametrize(
    ("stop", "ending", "message"),
    [
        (TIMEOUT, Unfinished(READ), "the attempt took longer than its timeout of 2.5 s"),
        (None, Raised(READ, asyncio.CancelledError()), "the tool was cancelled by its own code"),
    ],
)
def test_what_the_error_says_when_the_tool_itself_raised_none(
    stop: StopReason | None, ending: Ending, message: str
) -> None:
    settlement = decided(stop, ending).settlement
    assert isinstance(settlement, Retry)
    assert msgspec.msgpack.decode(settlement.error, type=Failure).message == message


@pytest.mark.parametrize("what", ENDINGS)
@pytest.mark.parametrize("stop", [None, *StopReason])
def test_a_consumer_hears_of_failed_and_dead_jobs_that_it_could_read(stop: StopReason | None, what: str) -> None:
    ending, attempt = ENDINGS[what]
    decision = decided(stop, ending, attempt)
    final = isinstance(decision.settlement, Finish) and decision.settlement.state in (State.FAILED, State.DEAD)
    heard = final and not isinstance(ending, Unreadable | Broken)
    assert (decision.hook is not None) == heard
    if isinstance(decision.hook, partial):
        assert decision.hook.func == READ.consumer.on_failure
        assert type(decision.hook.args[0]).__name__ == summary(decision).split()[1]
        assert decision.hook.args[1] is READ.message


def test_a_consumer_that_wants_to_hears_of_success_with_the_result_as_it_was_returned() -> None:
    curious = opened(Curious())
    result = {"a": (1, 2)}
    hook = decided(None, Returned(curious, result)).hook
    assert isinstance(hook, partial)
    assert hook.func == curious.consumer.on_success
    assert hook.args == (result, curious.message)
    assert hook.args[0] is result
    for stop in (TIMEOUT, CANCEL, LOST):
        assert decided(stop, Returned(curious, result)).hook is None


def test_a_result_is_stored_with_what_the_job_is_found_by_or_its_whole_message() -> None:
    finish = decided(None, Returned(READ, 5), 2).settlement
    assert isinstance(finish, Finish)
    assert (finish.data, finish.attempts, finish.entry) == (b"\x05", 2, b"normal/1-0")
    assert finish.summary
    whole = decided(None, Returned(READ, 5), rules=ResultRules(1_000, keep_messages=True)).settlement
    assert isinstance(whole, Finish)
    assert whole.summary == b""


def test_a_result_that_is_too_large_fails_the_job() -> None:
    assert summary(decided(None, Returned(READ, "x" * 2_000))) == "failed ResultInvalid"


def test_a_job_whose_attempts_were_used_up_has_spent_those_that_it_had() -> None:
    finish = decided(None, UsedUp(READ), 4).settlement
    assert isinstance(finish, Finish)
    assert finish.attempts == 3


def test_the_same_failure_and_answer_always_lead_to_the_same_decision() -> None:
    first, second = (decide_failure(Failed(READ, AGAIN), job(), 2.5, lambda: str) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("wait", "delay_ms"), [(2.5, 2_500), (0.25, 250), (0.0, 1)])
def test_a_retry_waits_in_whole_milliseconds_and_for_one_at_least(wait: float, delay_ms: int) -> None:
    settlement = decide_failure(Failed(READ, AGAIN), job(), wait, lambda: str).settlement
    assert isinstance(settlement, Retry)
    assert settlement.delay_ms == delay_ms


def test_the_time_until_the_next_attempt_is_the_policys() -> None:
    waits = {decided(None, Raised(READ, AGAIN)).settlement.delay_ms for _ in range(50)}  # type: ignore[union-attr]
    assert waits <= set(range(1, 11))


@pytest.mark.parametrize(
    ("ending", "attempt", "level", "line"),
    [
        (Raised(READ, AGAIN), 1, logging.INFO, "attempt 1 failed, retrying in 0.0"),
        (Raised(READ, AGAIN), 3, logging.WARNING, f"job {job().id} is dead after 3 attempts: ValueError: no luck"),
        (Raised(READ, HOPELESS), 1, logging.WARNING, "failed after 1 attempt: PermanentError: no way"),
        (Raised(READ, HOPELESS), 2, logging.WARNING, "failed after 2 attempts: PermanentError: no way"),
        (UsedUp(READ), 4, logging.WARNING, "is a dead letter: all 3 attempts are used up"),
        (Unknown(ToolNotFound("unknown tool 'x'")), 1, logging.INFO, "is left for another worker: unknown tool 'x'"),
        (Unreadable(MessageInvalid("noise")), 1, logging.WARNING, "is a dead letter: noise"),
    ],
)
def test_what_is_logged(ending: Ending, attempt: int, level: int, line: str) -> None:
    decision = decided(None, ending, attempt)
    assert decision.level == level
    assert line in decision.line


def test_secrets_are_taken_out_of_what_is_stored_and_logged() -> None:
    def redact(text: str) -> str:
        return text.replace("hunter2", "***")

    error = ValueError("the password hunter2 is wrong")
    decision = judged(None, Raised(READ, error), job(3), ResultRules(1_000), redact)
    assert isinstance(decision.settlement, Finish)
    assert b"hunter2" not in decision.settlement.data
    assert decision.line.endswith("ValueError: the password *** is wrong")


@pytest.mark.parametrize("kind", [Unreadable, Broken])
def test_secrets_are_taken_out_of_the_errors_of_jobs_that_were_not_run(kind: Callable[[Exception], Ending]) -> None:
    ending = kind(ValueError("the password hunter2 is wrong"))
    decision = judged(None, ending, job(), ResultRules(1_000), lambda text: text.replace("hunter2", "***"))
    assert isinstance(decision.settlement, Finish)
    assert b"hunter2" not in decision.settlement.data
    assert "hunter2" not in decision.line


def test_a_should_retry_that_raises_leaves_it_to_the_default_rule(caplog: pytest.LogCaptureFixture) -> None:
    class Careless(Quiet):
        def should_retry(self, error: BaseException, message: Letter) -> bool:
            raise KeyError("hook")

    assert summary(decided(None, Raised(opened(Careless()), AGAIN))) == "retry ValueError"
    assert summary(decided(None, Raised(opened(Careless()), HOPELESS))) == "failed PermanentError"
    assert "should_retry failed; the default rule applies" in caplog.text


def test_should_retry_is_not_asked_about_an_attempt_that_was_stopped_for_another_reason() -> None:
    asked = []

    class Asked(Quiet):
        def should_retry(self, error: BaseException, message: Letter) -> bool:
            asked.append(type(error))
            return True

    for stop in (CANCEL, LOST, RELEASE, TIMEOUT):
        decided(stop, Raised(opened(Asked()), AGAIN))
    assert asked == [TimeoutError]
