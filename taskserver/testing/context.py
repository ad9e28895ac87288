"""A context that records what a tool reports, for calls without a job."""

from __future__ import annotations

from taskserver.domain.events import EventKind, Report
from taskserver.domain.ids import KeyMaker, job_id, new_route
from taskserver.tools import Context


class RecordingContext(Context):
    """A context for tests: it records what the tool reports. Pass it to ``run_tool``, or to the tool itself.

    Args:
        attempt: Number of the attempt, from 1.
        max_attempts: Maximum number of attempts; by default this one is the last.
        queue: The job's queue.
        idempotency_key: By default the job's id, as for a job that was submitted without one.
        session_id: As given at submit.
        tags: As given at submit.

    Attributes:
        progress_reports: What the tool passed to ``ctx.progress``, in order: fraction and text.
        output: What it passed to ``ctx.emit``, in order, in pieces of at most 64 KiB.
        cancelled: Set it to see whether a tool in a thread stops.
    """

    __slots__ = ("output", "progress_reports")

    def __init__(
        self,
        *,
        attempt: int = 1,
        max_attempts: int | None = None,
        queue: str = "default",
        idempotency_key: str | None = None,
        session_id: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        made = job_id(queue, KeyMaker(new_route())())
        self.progress_reports: list[tuple[float, str]] = []
        self.output: list[str] = []
        super().__init__(
            job_id=made,
            queue=queue,
            attempt=attempt,
            max_attempts=attempt if max_attempts is None else max_attempts,
            idempotency_key=made if idempotency_key is None else idempotency_key,
            session_id=session_id,
            tags=tags,
            sink=_Recorder(self),
        )


class _Recorder:
    """Puts each report where the test finds it; there is always room."""

    def __init__(self, context: RecordingContext) -> None:
        self._context = context

    def put(self, report: Report) -> bool:
        if report.kind is EventKind.PROGRESS:
            self._context.progress_reports.append((report.progress or 0.0, report.text))
        else:
            self._context.output.append(report.text)
        return True

    async def room(self) -> None:
        return

    def wait_for_room(self) -> None:
        return
