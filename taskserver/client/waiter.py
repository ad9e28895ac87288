"""Any number of awaited jobs over one subscription.

A job's id contains its submitter's *route*. The scripts that end a job, or add to its events, publish a notification on
the channel of that route. So a client needs one subscription for all jobs that it submitted itself, and the id of any
other job tells it the right channel.

Notifications carry short outcomes; longer ones are read in batches. Since notifications can be lost, every awaited job
is checked once a second anyway.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from taskserver.aio import LoopGuard, cancel_and_wait
from taskserver.domain.ids import ROUTE, JobRef
from taskserver.domain.job import ENDED, Outcome
from taskserver.domain.retry import backoff
from taskserver.errors import BrokerDenied, BrokerError, ClientUnusable, JobNotFound, TaskServerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.subscription import Subscription
from taskserver.store.queries.outcomes import ended_jobs, jobs_with_events, read_outcomes

CHECK_SECONDS = 1.0
"""How often every awaited job is checked: a lost notification costs no more than this."""
BATCH_JOBS = 500

log = logging.getLogger("taskserver.client")


class JobWatch:
    """What all callers that wait for one job share.

    Attributes:
        users: How many callers there are.
        outcome: Completes when the job has ended.
        followers: Events to set when the job may have new events.
    """

    __slots__ = ("followers", "outcome", "users")

    def __init__(self) -> None:
        self.users = 0
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.followers: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Wake callers that follow the job's events."""
        for event in self.followers:
            event.set()

    def end(self, outcome: Outcome | TaskServerError) -> None:
        """Complete with the outcome, or with an error if it cannot be known."""
        if not self.outcome.done():
            if isinstance(outcome, TaskServerError):
                self.outcome.set_exception(outcome)
                self.outcome.exception()  # retrieved: asyncio must not warn when all callers have left
            else:
                self.outcome.set_result(outcome)
        self.wake()


class Waiter:
    """Waits for any number of jobs of one client, whose ``guard`` it asks first."""

    def __init__(self, broker: Broker, guard: LoopGuard) -> None:
        self._broker = broker
        self._guard = guard
        self._watches: dict[JobRef, JobWatch] = {}
        self._channels: dict[tuple[str, str], str] = {}  # by queue and route
        self._unchecked: dict[str, set[str]] = {}  # by queue
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._retried: set[JobRef] = set()
        self._subscription = Subscription(broker)
        self._tasks: set[asyncio.Task[None]] = set()

    async def outcome(self, job: JobRef) -> Outcome:
        """Wait until the job has ended.

        Raises:
            JobNotFound: if there is no record of it.
            BrokerDenied: if this user may not read it.
        """
        with self.watch(job) as watch:
            return await asyncio.shield(watch.outcome)

    def retried(self, job: JobRef) -> None:
        """The job is being run again: notifications of its earlier end may still arrive, and are not believed."""
        self._retried.add(job)

    @contextmanager
    def watch(self, job: JobRef) -> Iterator[JobWatch]:
        """Watch one job inside the block.

        Raises:
            ClientUnusable: if the client is closed, or belongs to another event loop or process.
        """
        if self._guard.loop is not asyncio.get_running_loop():
            self._guard.check()
        watch = self._watches.get(job)
        if watch is None:
            watch = self._watches[job] = JobWatch()
            self._listen(job)
        watch.users += 1
        self._check(job)
        try:
            yield watch
        finally:
            watch.users -= 1
            if not watch.users:
                del self._watches[job]

    def _listen(self, job: JobRef) -> None:
        """Listen to the job's channel. It is kept when nobody waits any more: the next job often uses the same."""
        source = job.queue, job.key[ROUTE]
        if source in self._channels:
            return
        channel = self._channels[source] = self._broker.keys(job.queue).done(job.key[ROUTE])
        if not self._tasks:
            self._tasks = {asyncio.create_task(self._check_all_forever()), asyncio.create_task(self._receive())}
        else:
            task = asyncio.create_task(self._subscribe(channel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _subscribe(self, channel: str) -> None:
        with suppress(BrokerError):  # the receiving task reconnects and subscribes to everything again
            await self._subscription.subscribe([channel])

    async def _receive(self) -> None:
        failures = 0
        while True:
            try:
                await self._subscription.subscribe(self._channels.values())
                async for channel, message in self._subscription.messages():
                    failures = 0
                    self._handle(channel, message)
            except BrokerError as error:
                log.debug("notifications interrupted: %s", error)
                failures += 1
                await asyncio.sleep(backoff(failures, last=CHECK_SECONDS))

    def _handle(self, channel: str, message: bytes) -> None:
        if not message:  # a subscription has just taken effect: earlier notifications were missed
            self._check(*(job for job in self._watches if self._channels[job.queue, job.key[ROUTE]] == channel))
            return
        queue = channel.partition("{")[2].partition("}")[0]
        for key, outcome in ended_jobs(message):
            job = JobRef(queue, key)
            if outcome is not None and job not in self._retried:
                self._end(job, outcome)
            elif job in self._watches:
                self._check(job)
        for key in jobs_with_events(message):
            if watch := self._watches.get(JobRef(queue, key)):
                watch.wake()

    def _check(self, *jobs: JobRef) -> None:
        """Read the outcomes of jobs, queue by queue: one whose server does not answer must not delay the others."""
        for job in jobs:
            self._unchecked.setdefault(job.queue, set()).add(job.key)
            if job.queue not in self._checks:
                check = self._check_queue(job.queue)
                self._checks[job.queue] = asyncio.create_task(check, name=f"outcomes of {job.queue}")

    async def _check_all_forever(self) -> None:
        """Check all jobs once a second, whatever notifications say."""
        while True:
            await asyncio.sleep(CHECK_SECONDS * random.uniform(0.75, 1.0))  # noqa: S311 - jitter
            for watch in self._watches.values():
                watch.wake()
            self._check(*self._watches)

    async def _check_queue(self, queue: str) -> None:
        try:
            while keys := self._unchecked.pop(queue, None):
                await self._check_keys(queue, [key for key in keys if JobRef(queue, key) in self._watches])
        finally:
            del self._checks[queue]

    async def _check_keys(self, queue: str, keys: list[str]) -> None:
        try:
            await self._read(queue, list(keys))
        except BrokerDenied as error:
            for key in keys:
                self._end(JobRef(queue, key), BrokerDenied(*error.args))
        except Exception as error:
            if not isinstance(error, BrokerError):
                log.exception("could not read results")
            log.debug("could not read results: %s", error)
            await asyncio.sleep(backoff(1, CHECK_SECONDS / 2))  # then every job is checked again when it is due

    async def _read(self, queue: str, keys: list[str]) -> None:
        while keys:
            found = await read_outcomes(self._broker, queue, keys[:BATCH_JOBS])
            for key, outcome in zip(keys, found, strict=False):
                job = JobRef(queue, key)
                if outcome is None:
                    self._end(job, JobNotFound(job.id))
                elif outcome.state in ENDED:
                    self._end(job, outcome)
            del keys[: len(found)]

    def _end(self, job: JobRef, outcome: Outcome | TaskServerError) -> None:
        if watch := self._watches.get(job):
            watch.end(outcome)

    async def close(self) -> None:
        """Stop waiting; callers that still wait get an error."""
        for watch in self._watches.values():
            watch.end(ClientUnusable("this client was closed before the job had ended; the job continues"))
        await cancel_and_wait(*self._tasks, *self._checks.values())
        await self._subscription.close()
