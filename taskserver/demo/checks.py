"""What the demo claims, as checks: each returns if it is true, and otherwise says what was found instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taskserver.domain.events import Event, EventKind
from taskserver.domain.job import JobStatus, State


class NotAsTold(Exception):
    """Something did not happen as the demo says it does."""


def same(what: str, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Every result is what this process computes itself.

    Raises:
        NotAsTold: naming the first that is not, or is missing.
    """
    for name in {**expected, **found}:
        if name not in found or name not in expected or found[name] != expected[name]:
            raise NotAsTold(f"{what} of {name}: {expected.get(name)!r} expected, {found.get(name)!r} received")


def all_succeeded(statuses: Iterable[JobStatus]) -> None:
    """Every job has succeeded.

    Raises:
        NotAsTold: naming the first that has not.
    """
    for status in statuses:
        _in_state(status, State.SUCCEEDED)


def retried(status: JobStatus, failures: int, error: str) -> None:
    """The job failed so many times with this error, and then succeeded.

    Raises:
        NotAsTold: if not.
    """
    _in_state(status, State.SUCCEEDED)
    _failed_attempts(status, failures, error)
    _attempts(status, failures + 1)


def died(status: JobStatus, attempts: int, error: str, dead_letters: Sequence[str]) -> None:
    """The job used up its attempts and is among the dead letters, with the error of each attempt.

    Raises:
        NotAsTold: if not.
    """
    _in_state(status, State.DEAD)
    _attempts(status, attempts)
    _failed_attempts(status, attempts, error)
    if status.error is None or status.error.type != error:
        raise NotAsTold(f"job {status.id} is dead without the error that killed it")
    if not any(status.id.endswith(f"-{key}") for key in dead_letters):
        raise NotAsTold(f"job {status.id} is dead but not among the dead letters")


def streamed(events: Sequence[Event], pieces: Sequence[str], seen_while: State) -> None:
    """The first event came while the job ran; the output is whole and in order; the progress rose to 1.

    Raises:
        NotAsTold: if not.
    """
    if seen_while is not State.RUNNING:
        raise NotAsTold(f"the job was {seen_while} when its first event came, not running")
    output = [event.text for event in events if event.kind is EventKind.OUTPUT]
    if output != list(pieces):
        raise NotAsTold(f"{len(output)} pieces of output came, not the {len(pieces)} expected in their order")
    progress = [event.progress or 0.0 for event in events if event.kind is EventKind.PROGRESS]
    if progress != sorted(progress) or progress[-1:] != [1.0]:
        raise NotAsTold(f"the progress did not rise to 1: {progress}")


def resumed(events: Sequence[Event], cursor: str, later: Sequence[Event]) -> None:
    """Following again behind a cursor told exactly what came after it.

    Raises:
        NotAsTold: if not.
    """
    after = [event.cursor for event in events]
    after = after[after.index(cursor) + 1 :]
    if [event.cursor for event in later] != after:
        raise NotAsTold(f"{len(later)} events came behind the cursor, not the {len(after)} that are there")


def taken_over(status: JobStatus, killed: str, seconds: float, lease: float) -> None:
    """The job of a killed worker ran again elsewhere within two lease times, and succeeded.

    Raises:
        NotAsTold: if not.
    """
    _in_state(status, State.SUCCEEDED)
    _attempts(status, 2)
    if [(line.event, line.worker) for line in status.history] != [("lost", killed)]:
        raise NotAsTold(f"the history of job {status.id} does not say that worker {killed} was lost")
    if status.worker == killed:
        raise NotAsTold(f"job {status.id} is said to have ended on the worker that was killed")
    if seconds > 2 * lease:
        raise NotAsTold(f"the job ran again after {seconds:.1f} s, later than two leases of {lease:g} s")


def one_job(ids: Sequence[str], status: JobStatus) -> None:
    """Several submits made one job, which ran once.

    Raises:
        NotAsTold: if not.
    """
    if len(set(ids)) != 1:
        raise NotAsTold(f"the same key made {len(set(ids))} jobs")
    _in_state(status, State.SUCCEEDED)
    _attempts(status, 1)


def cancelled(status: JobStatus, seconds: float, limit: float) -> None:
    """The job has ended as cancelled, soon after it was asked for.

    Raises:
        NotAsTold: if not.
    """
    _in_state(status, State.CANCELLED)
    if seconds > limit:
        raise NotAsTold(f"the job ended {seconds:.2f} s after the cancel, later than {limit:g} s")


def _in_state(status: JobStatus, state: State) -> None:
    if status.state is not state:
        why = f" ({status.error.type}: {status.error.message})" if status.error else ""
        raise NotAsTold(f"job {status.id} is {status.state}{why}, not {state}")


def _attempts(status: JobStatus, attempts: int) -> None:
    if status.attempt != attempts:
        raise NotAsTold(f"job {status.id} ended at attempt {status.attempt}, not {attempts}")


def _failed_attempts(status: JobStatus, failures: int, error: str) -> None:
    errors = [line.error.type for line in status.history if line.error is not None]
    if errors != [error] * failures:
        raise NotAsTold(f"the history of job {status.id} has the errors {errors}, not {failures} times {error}")
