"""Printing how a job has ended: its result, or with ``--json`` also its failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskserver.cli.screen import show_json, show_text
from taskserver.domain.job import State
from taskserver.errors import JobCancelled, JobError, JobExpired, JobFailed


def show_result(job_id: str, result: Any, as_json: bool) -> None:
    """Print a result: a string as it is, anything else as JSON; with ``as_json`` with the job's id and state."""
    if as_json:
        show_json({"id": job_id, "state": State.SUCCEEDED, "result": result})
    elif isinstance(result, str):
        show_text(result)
    else:
        show_json(result)


@contextmanager
def failure_as_data(job_id: str, as_json: bool) -> Iterator[None]:
    """With ``as_json``, print how the job has ended without a result; the error is raised all the same."""
    try:
        yield
    except (JobFailed, JobCancelled, JobExpired) as error:
        if as_json:
            show_json({"id": job_id, "state": _state(error), "error": _error(error)})
        raise


def _state(error: JobFailed | JobCancelled | JobExpired) -> str:
    if isinstance(error, JobFailed):
        return error.state
    return State.CANCELLED if isinstance(error, JobCancelled) else State.EXPIRED


def _error(error: JobError) -> dict[str, str] | None:
    if not isinstance(error, JobFailed):
        return None
    return {"type": error.error_type, "message": error.error_message, "traceback": error.traceback}
