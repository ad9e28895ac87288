"""Jobs: found, shown, cancelled and run again."""

from __future__ import annotations

from taskserver.admin.connection import Connection
from taskserver.domain.events import Event
from taskserver.domain.ids import parse
from taskserver.domain.job import JobStatus, State
from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, JobNotFound
from taskserver.store.jobs import admin
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries.search import JobFilter, newest_jobs


class JobInspector(Connection):
    """Methods about jobs."""

    async def jobs(
        self,
        *,
        queue: str | None = None,
        state: State | str | None = None,
        tool: str | None = None,
        session_id: str | None = None,
        tag: str | None = None,
        error: str | None = None,
        limit: int = 50,
        brief: bool = False,
    ) -> list[JobStatus]:
        """The newest jobs that match every filter, newest first. Reads every record of the queues.

        Args:
            queue: Only of this queue.
            state: Only in this state.
            tool: Only of this tool.
            session_id: Only of this session.
            tag: Only with this tag.
            error: Only if the error's type or message contains this.
            limit: Jobs to return at most.
            brief: Leave out their arguments and history, so that large messages cost nothing.

        Raises:
            ConfigError: if the state or the queue does not exist, or the limit is less than 1.
        """
        check_limit(limit)
        wanted = JobFilter(_state(state), tool, session_id, tag, error)
        return await newest_jobs(await self._broker(), await self._searched(queue), wanted, limit, brief=brief)

    async def job(self, job_id: str) -> JobStatus:
        """The status of one job.

        Raises:
            ConfigError: if ``job_id`` does not have the form of an id.
            JobNotFound: if the id is unknown, or the record has expired.
        """
        queue, key = parse(job_id)
        (status,) = await job_queries.statuses(await self._broker(), queue, [key])
        if status is None:
            raise JobNotFound(job_id)
        return status

    async def events(self, job_id: str, after: str = "0") -> list[Event]:
        """The job's next events, oldest first, at most 500, and gaps where some are missing.

        To follow a job until its end, use ``Job.events``.

        Args:
            job_id: The job.
            after: The ``cursor`` of the last event that was seen.

        Raises:
            ConfigError: if ``job_id`` does not have the form of an id, or ``after`` is not a cursor of this job.
        """
        return await job_queries.events(await self._broker(), parse(job_id), after)

    async def cancel(self, job_id: str) -> State:
        """End a job: at once if it has not begun, else its worker ends it within half a second.

        Returns:
            The state now: ``cancelled``, or ``running`` while the worker ends it, or how it had ended before.

        Raises:
            ConfigError: if ``job_id`` does not have the form of an id.
            JobNotFound: if the id is unknown, or the record has expired.
        """
        return await admin.cancel_one(await self._broker(), *parse(job_id))

    async def retry(self, job_id: str) -> None:
        """Run an ended job again under the same id; its attempts count from zero, its history is kept.

        Raises:
            ConfigError: if ``job_id`` does not have the form of an id.
            JobNotFound: if the id is unknown, or the record has expired.
            JobConflict: if it has not ended, its message was not kept, or its signature may not be renewed.
        """
        await admin.run_again(await self._broker(), *parse(job_id), self._keyring)


def check_limit(limit: int) -> None:
    """Refuse a limit that cannot be one.

    Raises:
        ConfigError: if it is not an integer, or less than 1.
    """
    if not isinstance(limit, int) or limit < 1:
        raise ConfigError(f"limit must be at least 1, not {limit!r}")


def _state(state: State | str | None) -> State | None:
    if state is not None and state not in list(State):
        hint = did_you_mean(str(state), map(str, State)) or f": use one of {', '.join(State)}"
        raise ConfigError(f"{str(state)!r} is not a job state{hint}")
    return State(state) if state is not None else None
