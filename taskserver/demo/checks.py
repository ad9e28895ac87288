"""What the demo claims, as checks: each returns if the claim holds, and raises ``CheckFailed`` if not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taskserver.domain.events import Event, EventKind
from taskserver.domain.job import JobStatus, State


class CheckFailed(Exception):
    """Something did not happen as the demo claims."""


def same(what: str, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Every result equals the one that this process has computed.

    Raises:
        CheckFailed: naming the first that is not, or is missing.
    """
    for name in {**expected, **found}:
        if name not in found or name not in expected or found[name] != expected[name]:
            raise CheckFailed(f"{what} of {name}: expected {expected.get(name)!r}, got {found.get(name)!r}")


def all_succeeded(statuses: Iterable[JobStatus]) -> None:
    """Every job has succeeded.

    Raises:
        CheckFailed: naming the first that has not.
    """
    for status in statuses:
        _in_state(status, State.SUCCEEDED)


def retried(status: JobStatus, failures: int, error: str) -> None:
    """The job failed ``failures`` times with this error, and then succeeded.

    Raises:
        CheckFailed: if not.
    """
    _in_state(status, State.SUCCEEDED)
    _failed_attempts(status, failures, error)
    _attempts(status, failures + 1)


def died(status: JobStatus, attempts: int, error: str, dead_letters: Sequence[str]) -> None:
    """The job has used up its attempts and is a dead letter, with the error of each attempt.

    Raises:
        CheckFailed: if not.
    """
    _in_state(status, State.DEAD)
    _attempts(status, attempts)
    _failed_attempts(status, attempts, error)
    if status.error is None or status.error.type != error:
        raise CheckFailed(f"job {status.id} is dead, but without its error")
    if not any(status.id.endswith(f"-{key}") for key in dead_letters):
        raise CheckFailed(f"job {status.id} is dead, but not among the dead letters")


def streamed(events: Sequence[Event], pieces: Sequence[str], seen_while: State) -> None:
    """The first event arrived while the job ran; the output is complete and in order; the progress rose to 1.

    Raises:
        CheckFailed: if not.
    """
    if seen_while is not State.RUNNING:
        raise CheckFailed(f"the job was {seen_while}, not running, when its first event arrived")
    output = [event.text for event in events if event.kind is EventKind.OUTPUT]
    if output != list(pieces):
        raise CheckFailed(f"the output was not the {len(pieces)} expected pieces in order: {len(output)} arrived")
    progress = [event.progress or 0.0 for event in events if event.kind is EventKind.PROGRESS]
    if progress != sorted(progress) or progress[-1:] != [1.0]:
        raise CheckFailed(f"the progress did not rise to 1: {progress}")


def resumed(events: Sequence[Event], cursor: str, later: Sequence[Event]) -> None:
    """Following again from a cursor gave exactly the events after it.

    Raises:
        CheckFailed: if not.
    """
    after = [event.cursor for event in events]
    after = after[after.index(cursor) + 1 :]
    if [event.cursor for event in later] != after:
        raise CheckFailed(f"following from the cursor gave {len(later)} events instead of {len(after)}")


def taken_over(status: JobStatus, killed: str, seconds: float, lease: float) -> None:
    """The job of a killed worker ran again elsewhere within two lease times, and succeeded.

    Raises:
        CheckFailed: if not.
    """
    _in_state(status, State.SUCCEEDED)
    _attempts(status, 2)
    if [(line.event, line.worker) for line in status.history] != [("lost", killed)]:
        raise CheckFailed(f"the history of job {status.id} does not say that worker {killed} was lost")
    if status.worker == killed:
        raise CheckFailed(f"job {status.id} ended on the worker that was killed")
    if seconds > 2 * lease:
        raise CheckFailed(f"the job ran again after {seconds:.1f} s, which is more than two leases of {lease:g} s")


def one_job(ids: Sequence[str], status: JobStatus) -> None:
    """Several submits created one job, which ran once.

    Raises:
        CheckFailed: if not.
    """
    if len(set(ids)) != 1:
        raise CheckFailed(f"the same key created {len(set(ids))} jobs")
    _in_state(status, State.SUCCEEDED)
    _attempts(status, 1)


def cancelled(status: JobStatus, seconds: float, limit: float) -> None:
    """The job was cancelled soon after the request.

    Raises:
        CheckFailed: if not.
    """
    _in_state(status, State.CANCELLED)
    if seconds > limit:
        raise CheckFailed(f"the job stopped {seconds:.2f} s after the cancel, not within {limit:g} s")


def _in_state(status: JobStatus, state: State) -> None:
    if status.state is not state:
        why = f" ({status.error.type}: {status.error.message})" if status.error else ""
        raise CheckFailed(f"job {status.id} is {status.state}{why}, not {state}")


def _attempts(status: JobStatus, attempts: int) -> None:
    if status.attempt != attempts:
        raise CheckFailed(f"job {status.id} ended at attempt {status.attempt}, not {attempts}")


def _failed_attempts(status: JobStatus, failures: int, error: str) -> None:
    errors = [line.error.type for line in status.history if line.error is not None]
    if errors != [error] * failures:
        raise CheckFailed(f"the history of job {status.id} has the errors {errors}, not {failures} times {error}")
