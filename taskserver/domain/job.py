"""The job: its states, and the table of all transitions between them.

A job is a durable record in the broker. It moves only by a transition, and every transition is one Lua
script in ``taskserver/store/lua`` that runs atomically there. The table below is the whole state machine:
scripts, store and docs are tested against it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from taskserver.domain.for_pydantic import ForPydantic


class State(StrEnum):
    """The state of a job. The value is what people and the broker see."""

    QUEUED = "queued"
    """In a lane of its queue, for any worker to claim."""
    DELAYED = "delayed"
    """Not in a lane until it is due: submitted for later, or between two attempts."""
    RUNNING = "running"
    """Claimed: one worker holds the lease and is running an attempt."""
    WAITING = "waiting"
    """Waiting for an answer from outside; holds no slot and no lease."""
    SUCCEEDED = "succeeded"
    """Ended with a result."""
    FAILED = "failed"
    """Ended with an error that another attempt would not fix."""
    DEAD = "dead"
    """A dead letter: its attempts are used up, or its message cannot be run. Kept for a person to look at."""
    CANCELLED = "cancelled"
    """Ended because somebody cancelled it."""
    EXPIRED = "expired"
    """Ended because it was not started in time."""

    @property
    def ended(self) -> bool:
        """Whether this state is terminal: only a person can change it."""
        return self in ENDED


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.DEAD, State.CANCELLED, State.EXPIRED})


class Transition(NamedTuple):
    """One row of the table: the transition's script, the states it leads from and to, and what it means."""

    name: str
    sources: frozenset[State]
    targets: frozenset[State]
    meaning: str


def _row(name: str, sources: str, targets: str, meaning: str) -> Transition:
    def states(names: str) -> frozenset[State]:
        return frozenset(map(State, names.split()))

    return Transition(name, states(sources), states(targets), meaning)


TRANSITIONS = {
    row.name: row
    for row in (
        _row(
            "submit",
            "succeeded failed dead cancelled expired",
            "queued delayed",
            "a producer submits a message; the same id again changes nothing, unless an ended job is to run again",
        ),
        _row("claim", "queued", "running dead expired", "a worker with a free slot begins an attempt"),
        _row("renew", "running", "running", "the worker is alive and keeps its lease"),
        _row("report", "running", "running", "the attempt reports progress or partial output"),
        _row("finish", "running", "succeeded failed dead cancelled", "the attempt ended, and so does the job"),
        _row("retry", "running", "delayed cancelled", "the attempt failed; another follows after a delay"),
        _row("release", "running", "queued cancelled", "the worker hands the job back without spending the attempt"),
        _row("defer", "running", "delayed dead cancelled", "this worker cannot run it; it is left for one that can"),
        _row("reclaim", "running queued", "queued cancelled", "the lease was not renewed: the attempt is lost"),
        _row(
            "recall", "running queued", "queued cancelled", "the answer to a claim was lost: the claimed jobs go back"
        ),
        _row(
            "repair_jobs",
            "queued running delayed waiting dead",
            "queued running delayed waiting dead",
            "a key that belongs to the job was lost",
        ),
        _row("promote", "delayed", "queued", "a delayed job is due"),
        _row("cancel", "queued delayed waiting running", "cancelled running", "somebody cancels the job"),
        _row("expire", "queued delayed waiting", "expired", "the job was not started in time"),
        _row("wait", "running", "waiting cancelled", "the attempt needs an answer from outside and gives up its slot"),
        _row("answer", "waiting", "queued", "the answer has arrived: another attempt continues with it"),
        _row("purge", "queued delayed", "cancelled", "a person empties the queue"),
        _row("requeue", "succeeded failed dead cancelled expired", "queued", "a person runs an ended job again"),
    )
}


ON_EXISTING = ("return", "rerun", "raise")
"""What a submit may do about an ended job with its idempotency key; the first is the default."""


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """What a submit writes.

    Attributes:
        key: The job's id without its queue, 24 characters.
        payload: The packed message (see ``domain.messages``).
        lane: Name of the lane in which it waits.
        max_attempts: Maximum number of attempts; None leaves it to the tool.
        delay_ms: Milliseconds until it may start; 0 for now.
        due_ms: Alternatively, when it may start, in milliseconds since 1970 by the broker's clock; 0 for now.
        expires_ms: Milliseconds after the submit within which it must start; 0 for no limit.
        result_ttl_ms: Milliseconds for which its record is kept after it has ended; 0 for the default.
        about: The packed summary of a long message; empty for none.
        digest: Digest of the message, if there is an idempotency key: with another message, the key is a mistake.
        call: With an idempotency key, a name of this very submit: it is known again when its answer was lost.
        on_existing: What to do if the job exists and has ended: ``return``, ``rerun`` or ``raise``.
    """

    key: str
    payload: bytes
    lane: str = "normal"
    max_attempts: int | None = None
    delay_ms: int = 0
    due_ms: int = 0
    expires_ms: int = 0
    result_ttl_ms: int = 0
    about: bytes = b""
    digest: str = ""
    call: str = ""
    on_existing: str = "return"


class ExistingJob(NamedTuple):
    """A job that was there already when it was submitted.

    Attributes:
        state: Its state then.
        conflicts: Whether it has another message.
    """

    state: State
    conflicts: bool


class ClaimedJob(NamedTuple):
    """A job whose attempt has begun on this worker.

    Attributes:
        queue: The job's queue.
        key: Its id without the queue.
        attempt: Number of this attempt, from 1.
        fence: Rises with every claim and every lost lease; only the holder of the newest may write.
        max_attempts: Maximum number of attempts as submitted; None leaves it to the tool.
        payload: The packed message.
        entry: The stream entry by which it was claimed: its lane, and when it was added there.
    """

    queue: str
    key: str
    attempt: int
    fence: int
    max_attempts: int | None
    payload: bytes
    entry: bytes = b""

    @property
    def id(self) -> str:
        """The job's whole id."""
        return f"{self.queue}-{self.key}"

    @property
    def waited(self) -> float:
        """Seconds for which it was ready before this attempt began, by the broker's clock.

        An entry's id begins with the time at which it was added, and the fence is the time of the claim.
        """
        entry = self.entry
        if not entry:
            return 0.0
        waited_ms = self.fence - 1 - int(entry[entry.index(b"/") + 1 : entry.index(b"-")])
        return waited_ms / 1000 if waited_ms > 0 else 0.0


class Failure(ForPydantic, frozen=True, array_like=True):
    """An error as data, to be stored and shown. Nothing is ever imported from it.

    Attributes:
        type: Name of the exception's type.
        message: Its message.
        traceback: Its traceback as text; empty if no user code ran.
    """

    type: str
    message: str
    traceback: str = ""


class AttemptRecord(ForPydantic, frozen=True, array_like=True):
    """One entry of a job's history: an attempt that did not succeed, or a requeue.

    Attributes:
        attempt: Its number; 0 for a requeue.
        at_ms: When it ended, in milliseconds since 1970 by the broker's clock.
        worker: Name of the worker that ran it.
        event: How it ended: ``retry``, ``dead``, ``failed``, ``lost``, ``released`` or ``requeue``.
        error: The error, if there was one.
    """

    attempt: int
    at_ms: int
    worker: str
    event: str
    error: Failure | None = None


class JobStatus(ForPydantic, frozen=True, kw_only=True):
    """Everything that is known about a job at one moment. Times are seconds since 1970 by the broker's clock.

    Attributes:
        id: The whole job id.
        queue: Its queue.
        state: Its state.
        tool: Name of the tool, or of the message type for other messages; empty if the message is gone.
        attempt: Number of the current or last attempt, from 1; 0 before the first.
        max_attempts: Maximum number of attempts; None if the submitter left it to the tool.
        progress: Last reported progress, from 0 to 1; None if the tool reports none.
        progress_text: Text of the last progress report.
        lane: ``high``, ``normal`` or ``low``.
        submitted_at: When it was submitted, by the submitter's clock; None if the message is gone.
        due_at: When a delayed job may start.
        expires_at: When it ends if it has not started by then.
        started_at: When the current or last attempt began.
        ended_at: When it ended.
        worker: Name of the worker that is running it or ran it last.
        cancel_requested: Whether the job is running and was cancelled.
        error: The last attempt's error, also while another attempt is still to come.
        history: Attempts that failed or were lost, oldest first, at most 50.
        session_id: As given at submit.
        tags: As given at submit.
        idempotency_key: As given at submit.
        arguments: The tool's arguments, or the message's fields; secrets are masked.
    """

    id: str
    queue: str
    state: State
    tool: str = ""
    attempt: int = 0
    max_attempts: int | None = None
    progress: float | None = None
    progress_text: str = ""
    lane: str = "normal"
    submitted_at: float | None = None
    due_at: float | None = None
    expires_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    worker: str = ""
    cancel_requested: bool = False
    error: Failure | None = None
    history: list[AttemptRecord] = msgspec.field(default_factory=list)
    session_id: str | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    idempotency_key: str | None = None
    arguments: Any = None


class Outcome(NamedTuple):
    """What a caller that waits for a job needs: its state and, once it has ended, the packed result or error.

    Until then, ``data`` is the number of milliseconds until it expires, as text; empty if it does not.
    """

    state: State
    data: bytes
