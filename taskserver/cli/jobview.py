"""Jobs as JSON, as a card and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from taskserver.cli.screen import Column, Styled, note, show_card, show_json, show_table
from taskserver.domain.job import AttemptRecord, Failure, JobStatus, State
from taskserver.observability.phrases import age, count, duration, moment
from taskserver.observability.printable import json_text, one_line

if TYPE_CHECKING:
    from taskserver.admin import Cause

STYLES = {
    State.QUEUED: "cyan",
    State.DELAYED: "yellow",
    State.RUNNING: "blue",
    State.WAITING: "magenta",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.DEAD: "bold red",
    State.CANCELLED: "dim",
    State.EXPIRED: "dim",
}
ARGUMENTS_SHOWN = 2_000
"""Characters of a job's arguments on its card; all of them are in its JSON."""


def job_data(status: JobStatus) -> dict[str, Any]:
    """A job for JSON: every field by name, times in seconds since 1970 by the broker's clock."""
    return asdict(status) | {
        "error": failure_data(status.error),
        "history": [_record_data(record) for record in status.history],
    }


def failure_data(failure: Failure | None) -> dict[str, str] | None:
    """An error for JSON; the broker keeps it without the names of its fields."""
    return None if failure is None else asdict(failure)


def show_job(status: JobStatus) -> None:
    """Print everything about one job as a card."""
    show_card(
        [
            ("job", status.id),
            ("state", _state(status)),
            ("tool", status.tool),
            ("arguments", _arguments(status.arguments)),
            ("attempt", _attempt(status)),
            ("progress", _progress(status)),
            ("queue", f"{status.queue}, lane {status.lane}"),
            ("session", status.session_id),
            ("tags", ", ".join(status.tags)),
            ("key", status.idempotency_key),
            *_times(status),
            ("worker", status.worker),
            ("error", _error(status.error)),
            *_history(status.history),
        ]
    )


def show_jobs(jobs: Iterable[JobStatus], empty: str) -> None:
    """Print jobs as a table with their states."""
    columns = [
        Column("JOB"),
        Column("TOOL"),
        Column("STATE"),
        Column("ATTEMPT", right=True),
        Column("SUBMITTED"),
        Column("DETAIL", shrinks=True),
    ]
    rows = (
        (
            job.id,
            job.tool,
            Styled(job.state, STYLES[job.state]),
            _attempt_count(job),
            age(job.submitted_at, roughly=True),
            _detail(job),
        )
        for job in jobs
    )
    show_table(columns, rows, empty)


def show_dead(jobs: Iterable[JobStatus], empty: str) -> None:
    """Print dead letters as a table with their errors."""
    columns = [
        Column("JOB"),
        Column("TOOL"),
        Column("ATTEMPTS", right=True),
        Column("DIED"),
        Column("ERROR", shrinks=True),
    ]
    rows = (
        (job.id, job.tool, _attempt_count(job), age(job.ended_at, roughly=True), summary(job.error)) for job in jobs
    )
    show_table(columns, rows, empty)


def note_cut(shown: int, what: str, total: int | None = None) -> None:
    """Say on stderr that a list was cut.

    Args:
        shown: How many are in it.
        what: One of them.
        total: How many there are; None if that is not known.
    """
    note(f"{count(shown, what) if total is None else f'{shown:,} of {count(total, what)}'} shown: --limit N shows more")


def show_causes(causes: Iterable[Cause], as_json: bool) -> None:
    """Print the causes of dead letters, and how many died of each."""
    if as_json:
        show_json([cause._asdict() | {"newest": cause.newest.id} for cause in causes])
        return
    columns = [
        Column("NUMBER", right=True),
        Column("TOOL"),
        Column("ERROR"),
        Column("NEWEST"),
        Column("MESSAGE", shrinks=True),
    ]
    rows = (
        (f"{each.number:,}", each.tool, each.error, age(each.newest.ended_at, roughly=True), summary(each.newest.error))
        for each in causes
    )
    show_table(columns, rows, "no dead letters")


def summary(failure: Failure | None) -> str:
    """An error in a few words."""
    return "" if failure is None else f"{failure.type}: {failure.message}" if failure.message else failure.type


def _state(status: JobStatus) -> Styled:
    requested = status.cancel_requested and not status.state.ended
    return Styled(status.state + (" (cancel requested)" if requested else ""), STYLES[status.state])


def _attempt(status: JobStatus) -> str:
    if not status.attempt:
        return f"none yet of {status.max_attempts}" if status.max_attempts else "none yet"
    return f"{status.attempt} of {status.max_attempts}" if status.max_attempts else str(status.attempt)


def _attempt_count(status: JobStatus) -> str:
    if not status.attempt:
        return ""
    return f"{status.attempt}/{status.max_attempts}" if status.max_attempts else str(status.attempt)


def _progress(status: JobStatus) -> str:
    if status.progress is None:
        return ""
    return f"{status.progress:.0%} {one_line(status.progress_text)}".rstrip()


def _detail(status: JobStatus) -> str:
    return _progress(status) if status.state is State.RUNNING else summary(status.error)


def _arguments(arguments: Any) -> str:
    if arguments in (None, {}):
        return ""
    text = json_text(arguments, 0)
    return text if len(text) <= ARGUMENTS_SHOWN else f"{text[:ARGUMENTS_SHOWN]}… ({len(text):,} characters)"


def _times(status: JobStatus) -> Iterator[tuple[str, str]]:
    yield "submitted", moment(status.submitted_at)
    if status.state is State.DELAYED:
        yield "due", moment(status.due_at)
    if not status.attempt:
        yield "expires", moment(status.expires_at)
    yield "started", moment(status.started_at)
    yield "ended", moment(status.ended_at)
    if status.started_at and status.ended_at and status.ended_at >= status.started_at:
        yield "took", duration(status.ended_at - status.started_at)


def _error(failure: Failure | None) -> Styled | None:
    if failure is None:
        return None
    return Styled(f"{summary(failure)}\n{failure.traceback}".rstrip(), "red")


def _history(records: list[AttemptRecord]) -> Iterator[tuple[str, str]]:
    for position, record in enumerate(records):
        what = f"attempt {record.attempt}: {record.event}" if record.attempt else record.event
        why = f", {one_line(summary(record.error))}" if record.error else ""
        where = f", on {record.worker}" if record.worker else ""
        yield "" if position else "history", f"{what} {age(record.at_ms / 1000)}{where}{why}"


def _record_data(record: AttemptRecord) -> dict[str, Any]:
    return {
        "attempt": record.attempt,
        "at": record.at_ms / 1000,
        "worker": record.worker,
        "event": record.event,
        "error": failure_data(record.error),
    }
