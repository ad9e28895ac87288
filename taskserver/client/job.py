"""The handle of one job, from the process that submitted it or from any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from taskserver.client.following import EventFollower
from taskserver.client.waiter import Waiter
from taskserver.domain.events import Event
from taskserver.domain.ids import JobRef, job_id
from taskserver.domain.job import JobStatus, Outcome, State
from taskserver.domain.signing import Keyring
from taskserver.errors import (
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    ResultTimeout,
)
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin
from taskserver.store.queries import jobs as job_queries
from taskserver.tools import codec

T = TypeVar("T")


class Job(Generic[T]):
    """A job's handle. It is cheap: it holds the id and a connection, and asks the broker for everything else.

    Attributes:
        id: The job's id. ``Client.job(id)`` makes the same handle in another process, at any time.
        returns: The type to which its result is decoded.
        existed: The state in which the job was already when it was submitted, under an idempotency key that was used
            before; None if it was new, or if it was not submitted through this handle.
    """

    __slots__ = ("_broker", "_key", "_keyring", "_queue", "_waiter", "existed", "id", "returns")

    def __init__(
        self,
        broker: Broker,
        waiter: Waiter,
        queue: str,
        key: str,
        returns: Any = Any,
        keyring: Keyring | None = None,
    ) -> None:
        self._queue = queue
        self._key = key
        self.id = job_id(queue, key)
        self._broker = broker
        self._waiter = waiter
        self.returns = returns
        self.existed: State | None = None
        self._keyring = keyring

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    @property
    def _ref(self) -> JobRef:
        return JobRef(self._queue, self._key)  # made when it is asked for: most handles of large batches never are

    async def status(self) -> JobStatus:
        """Everything that is known about the job now.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
            BrokerError: if the broker cannot be reached or refuses.
        """
        (status,) = await job_queries.statuses(self._broker, self._queue, [self._key])
        if status is None:
            raise JobNotFound(self.id)
        return status

    async def result(self, timeout: float | None = None) -> T:
        """Wait until the job has ended and return its result.

        The result is decoded to the tool's return type if a function was submitted, otherwise to plain data.

        Args:
            timeout: Maximum time to wait, in seconds. The job keeps running afterwards.

        Raises:
            ResultTimeout: if the job has not ended by then.
            JobFailed: if it failed or is a dead letter.
            JobCancelled, JobExpired: if it was cancelled or has expired.
            JobNotFound: if the id is unknown, or the record has expired.
            ResultInvalid: if the result does not fit the return type.
        """
        try:
            outcome = await asyncio.wait_for(self._waiter.outcome(self._ref), timeout)
        except TimeoutError:
            raise ResultTimeout(self.id, timeout or 0) from None
        return self._unwrap(outcome)

    def _unwrap(self, outcome: Outcome) -> T:
        match outcome.state:
            case State.SUCCEEDED:
                result: T = codec.decode(outcome.data, self.returns)
                return result
            case State.CANCELLED:
                raise JobCancelled(self.id)
            case State.EXPIRED:
                raise JobExpired(self.id)
            case _:
                failure = job_queries.failure(outcome.data)
                raise JobFailed(self.id, failure.type, failure.message, failure.traceback, outcome.state)

    async def events(self, after: str = "0") -> AsyncIterator[Event]:
        """Follow the job's progress and output until it has ended, starting with the events so far.

        The newest 2,000 events of a job are kept. Where a reader has missed some, because it came or read on too late,
        it gets an event of the kind ``gap`` in their place. Up to 16 MiB of events are read ahead of a slow reader.

        Args:
            after: The ``cursor`` of the last event seen; continues after it, also in another process.

        Raises:
            ConfigError: if ``after`` is not a cursor of this job.
            JobNotFound: if the id is unknown, or the record has expired.
        """
        with self._waiter.watch(self._ref) as watch:
            follower = EventFollower(self._broker, self._ref, watch, after)
            async with aclosing(follower.events()) as events:
                async for event in events:
                    yield event

    async def cancel(self) -> State:
        """Cancel the job: at once if it has not started, otherwise its worker stops it within half a second.

        Returns:
            The state now: ``cancelled``, ``running`` while the worker is stopping it, or how it had ended before.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
        """
        return await admin.cancel_one(self._broker, self._queue, self._key)

    async def retry(self) -> None:
        """Run an ended job again under the same id. Attempts start from zero; the history is kept.

        A signed message is signed again.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
            JobConflict: if it has not ended, if its message was not kept, or if this client signs messages and the
                job is not signed with one of its keys.
        """
        self._waiter.retried(self._ref)
        await admin.run_again(self._broker, self._queue, self._key, self._keyring)
