"""Dead letters: listed, counted by cause, queued again and deleted, however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Any, NamedTuple, TypedDict, Unpack

from taskserver.admin.jobs import JobInspector, check_limit
from taskserver.domain.ids import parse
from taskserver.domain.job import JobStatus, State
from taskserver.errors import ConfigError, JobConflict
from taskserver.store.jobs import admin
from taskserver.store.queries.search import JobFilter, count_dead, dead_letters


class Cause(NamedTuple):
    """A cause of dead letters.

    Attributes:
        tool: Their tool.
        error: Type of their error; empty if none was recorded.
        number: How many died of it.
        newest: The one that died last.
    """

    tool: str
    error: str
    number: int
    newest: JobStatus


class Requeued(NamedTuple):
    """The outcome of running jobs again.

    Attributes:
        queued: Jobs that are queued now.
        unsigned: Jobs that were skipped, since they are not signed with a known key.
        refused: Jobs that were skipped, since they are gone, have not ended, or their message was not kept.
    """

    queued: int
    unsigned: int
    refused: int


class DeadLetterSelection(TypedDict, total=False):
    """Which dead letters to requeue or delete: those that match every filter, or all."""

    queue: str | None
    """Only of this queue."""
    tool: str | None
    """Only of this tool."""
    error: str | None
    """Only if the error's type or message contains this."""
    everything: bool
    """All that match; required if there is no filter."""


class DeadLetterInspector(JobInspector):
    """Methods about dead letters."""

    async def dead_letters(
        self,
        *,
        queue: str | None = None,
        tool: str | None = None,
        error: str | None = None,
        limit: int | None = None,
        brief: bool = False,
    ) -> AsyncIterator[JobStatus]:
        """Yield the dead letters that match every filter, queue by queue, newest first.

        They are read page by page, so any number can be exported. Each is yielded once, even if others die or are
        deleted meanwhile.

        Args:
            queue: Only of this queue.
            tool: Only of this tool.
            error: Only if the error's type or message contains this.
            limit: Letters to yield at most; None for no limit.
            brief: Leave out their arguments and history, so that large messages cost nothing.

        Raises:
            ConfigError: if there is no such queue, or the limit is less than 1.
        """
        if limit is not None:
            check_limit(limit)
        broker = await self._broker()
        wanted = JobFilter(State.DEAD, tool=tool, error=error)
        yielded = 0
        found = dead_letters(broker, await self._searched(queue), wanted, brief=brief)
        async with aclosing(found) as letters:  # type: ignore[type-var]
            async for letter in letters:
                if yielded == limit:
                    return
                yielded += 1
                yield letter

    async def dead_letter(self, job_id: str) -> JobStatus:
        """One dead letter with its arguments, error and history.

        Raises:
            ConfigError: if ``job_id`` does not have the form of an id.
            JobNotFound: if the id is unknown, or the record has expired.
            JobConflict: if the job is not a dead letter.
        """
        status = await self.job(job_id)
        if status.state is not State.DEAD:
            raise JobConflict(job_id, f"job {job_id} is {status.state}, not a dead letter")
        return status

    async def count_dead_letters(self, queue: str | None = None) -> int:
        """How many dead letters there are, in one queue or in all.

        Raises:
            ConfigError: if there is no such queue.
        """
        return await count_dead(await self._broker(), await self._searched(queue))

    async def causes(
        self, *, queue: str | None = None, tool: str | None = None, error: str | None = None
    ) -> list[Cause]:
        """Count the dead letters that match the filters by tool and error, the most frequent cause first.

        Raises:
            ConfigError: if there is no such queue.
        """
        found: dict[tuple[str, str], Cause] = {}
        async for letter in self.dead_letters(queue=queue, tool=tool, error=error, brief=True):
            kind = (letter.tool, letter.error.type if letter.error else "")
            known = found.get(kind) or Cause(*kind, 0, letter)
            newest = max(known.newest, letter, key=lambda each: each.ended_at or 0.0)
            found[kind] = known._replace(number=known.number + 1, newest=newest)
        return sorted(found.values(), key=lambda cause: -cause.number)

    async def requeue(
        self, job_ids: str | Iterable[str] | None = None, **selection: Unpack[DeadLetterSelection]
    ) -> Requeued:
        """Run dead letters, or other ended jobs, again: attempts from zero, history kept.

        Where signing keys are set, messages signed with one of them are signed again; others are skipped.

        Args:
            job_ids: Only this job or these jobs, which need not be dead letters.
            **selection: Instead of ids: these dead letters.

        Raises:
            ConfigError: if an id does not have the form of one, there is no such queue, or neither ids nor a filter
                nor ``everything`` is given, or ids and something else; nothing is queued then.
            BrokerError: if the broker does not answer or refuses; its ``done`` counts those that are queued already.
        """
        ids = await self._selected(job_ids, selection)
        broker = await self._broker()
        replies = Counter[str]()
        with admin.counting_done(lambda: replies[""]):
            for partition, keys in _by_queue(ids):
                replies.update(await admin.requeue(broker, partition, keys, self._keyring))
        queued, unsigned = replies[""], replies[admin.UNSIGNED]
        return Requeued(queued, unsigned, replies.total() - queued - unsigned)

    async def delete_dead_letters(
        self, job_ids: str | Iterable[str] | None = None, **selection: Unpack[DeadLetterSelection]
    ) -> int:
        """Delete dead letters for good, with all their records; other jobs are skipped.

        Args and Raises:
            As ``requeue``.

        Returns:
            How many were deleted.
        """
        ids = await self._selected(job_ids, selection)
        broker = await self._broker()
        deleted = 0
        with admin.counting_done(lambda: deleted):
            for partition, keys in _by_queue(ids):
                deleted += await admin.delete_dead(broker, partition, keys)
        return deleted

    async def _selected(self, job_ids: str | Iterable[str] | None, selection: DeadLetterSelection) -> Iterable[str]:
        """The ids that are given, or those of the dead letters that match now.

        All are found before the first is changed: a page that is read while letters leave would skip others.
        """
        filters: dict[str, Any] = {**selection}
        everything = filters.pop("everything", False)
        if (everything or any(each is not None for each in filters.values())) == (job_ids is not None):
            raise ConfigError("select dead letters by their ids, by queue, tool or error, or set everything")
        if job_ids is None:
            return [letter.id async for letter in self.dead_letters(**filters, brief=True)]
        return [job_ids] if isinstance(job_ids, str) else job_ids


def _by_queue(job_ids: Iterable[str]) -> Iterator[tuple[str, Sequence[str]]]:
    for queue, pairs in groupby(sorted(map(parse, job_ids)), key=lambda pair: pair[0]):
        yield queue, [key for _, key in pairs]
