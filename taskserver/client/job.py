"""The handle of one job, from the process that submitted it or from any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from taskserver.client.waiter import Waiter
from taskserver.domain.events import Event
from taskserver.domain.ids import job_id
from taskserver.domain.job import JobStatus, Outcome, State
from taskserver.domain.signing import Keyring
from taskserver.errors import (
    BrokerUnavailable,
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
    """A job's handle. Cheap: it holds an id and the way to the broker, and asks for everything else.

    Attributes:
        id: The job's id; ``Client.job(id)`` makes the same handle elsewhere, another day.
    """

    __slots__ = ("_broker", "_key", "_keyring", "_queue", "_returns", "_waiter", "id")

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
        self._returns = returns
        self._keyring = keyring

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    async def status(self) -> JobStatus:
        """Everything that is known of the job now.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
            BrokerError: if the broker cannot be asked.
        """
        (status,) = await job_queries.statuses(self._broker, self._queue, [self._key])
        if status is None:
            raise JobNotFound(self.id)
        return status

    async def result(self, timeout: float | None = None) -> T:
        """Wait until the job has ended and return its result.

        The result is decoded to the return type of the tool that was submitted as a function, otherwise to plain data.

        Args:
            timeout: Seconds to wait at most; the job goes on when they are over.

        Raises:
            ResultTimeout: if it has not ended by then.
            JobFailed: if it failed or is a dead letter.
            JobCancelled, JobExpired: if it ended so.
            JobNotFound: if the id is unknown, or the record has expired.
            ResultInvalid: if the result does not fit the return type.
        """
        try:
            outcome = await asyncio.wait_for(self._waiter.outcome(self._queue, self._key), timeout)
        except TimeoutError:
            raise ResultTimeout(self.id, timeout or 0) from None
        return self._unwrap(outcome)

    def _unwrap(self, outcome: Outcome) -> T:
        match outcome.state:
            case State.SUCCEEDED:
                result: T = codec.decode(outcome.data, self._returns)
                return result
            case State.CANCELLED:
                raise JobCancelled(self.id)
            case State.EXPIRED:
                raise JobExpired(self.id)
            case _:
                failure = job_queries.failure(outcome.data)
                raise JobFailed(self.id, failure.type, failure.message, failure.traceback)

    async def events(self, after: str = "0") -> AsyncIterator[Event]:
        """Follow the job's progress and output until it has ended; begins with what has been said already.

        Args:
            after: The ``cursor`` of the last event that was seen; goes on behind it, across processes and restarts.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
        """
        grown = asyncio.Event()
        with self._waiter.interest(self._queue, self._key) as interest:
            interest.stirred.add(grown)
            try:
                while True:
                    grown.clear()
                    ended = interest.outcome.done()
                    if interest.outcome.cancelled():  # the client was closed
                        raise asyncio.CancelledError
                    try:
                        page = await job_queries.events(self._broker, self._queue, self._key, after)
                    except BrokerUnavailable:  # it may come back: those who wait are stirred once a second
                        await grown.wait()
                        continue
                    for event in page:
                        yield event
                        after = event.cursor
                    if ended and not page:
                        interest.outcome.result()
                        return
                    if not page:
                        await grown.wait()
            finally:
                interest.stirred.discard(grown)

    async def cancel(self) -> State:
        """Ask for the job's end: at once if it has not begun, else its worker ends it within half a second.

        Returns:
            The state now: ``cancelled``, or ``running`` while the worker ends it, or how it had ended before.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
        """
        return await admin.cancel_one(self._broker, self._queue, self._key)

    async def retry(self) -> None:
        """Run an ended job again under the same id: attempts from zero, its history kept; signed anew if need be.

        Raises:
            JobNotFound: if the id is unknown, or the record has expired.
            JobConflict: if it has not ended; or if this client signs, and the job is not signed with one of its keys.
        """
        self._waiter.run_again(self._queue, self._key)
        await admin.run_again(self._broker, self._queue, self._key, self._keyring)
