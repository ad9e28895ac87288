"""Any number of awaited jobs over one subscription.

A job's id contains its submitter's *route*. The scripts that end a job, or add to its events, publish a notification on
the channel of that route. So a client needs one channel for all jobs that it submitted itself, and the id of any other
job tells it the right one. Jobs with idempotency keys share a bounded number of channels. A channel is left some time
after the last of its jobs.

Notifications carry short outcomes; longer ones are read in batches. Notifications can be lost. A connection that breaks
is noticed, and everything that is awaited is checked when there is another one. What is lost otherwise is found by
checks of single jobs, which grow rarer: a job is checked again when it has been awaited for twice as long, at least
once a minute. So waiting costs by the jobs that begin and end, not by how many there are.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from taskserver.aio import cancel_and_wait
from taskserver.client.unserved import explain
from taskserver.domain.ids import JobRef, route_of
from taskserver.domain.job import ENDED, Outcome, State
from taskserver.domain.retry import backoff
from taskserver.errors import (
    BrokerDenied,
    BrokerError,
    BrokerUnavailable,
    ClientUnusable,
    JobNotFound,
    TaskServerError,
)
from taskserver.observability.awaiting import awaiting
from taskserver.ownership import LoopGuard
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.subscription import Channels
from taskserver.store.queries.outcomes import ended_jobs, jobs_with_events, read_outcomes

CHECK_SECONDS = 1.0
"""How long a job is awaited before it is checked for the first time although no notification came."""
LONGEST_PAUSE_SECONDS = 60.0
"""Maximum time between two such checks of a job."""
BATCH_JOBS = 500
"""Maximum number of jobs that are read at once, and that are checked per second although no notification came."""
MOST_EXPLAINED = 100
"""Queues of which a client says, once each, why a job does not start."""
RETRIED_SECONDS = 60.0
"""How long notifications of a job that is run again are not believed; none is on its way for longer."""

Source = tuple[str, str]
"""A queue and a route: they name a channel."""

log = logging.getLogger("taskserver.client")


class JobWatch:
    """What all callers that wait for one job share.

    Args:
        channel: The channel on which its notifications come.

    Attributes:
        channel: As given.
        users: How many callers there are.
        outcome: Completes when the job has ended.
        followers: Events to set when the job may have new events.
        due: When to check the job although no notification came, by the event loop's clock.
        expiry: Checks the job when it should have expired; None if it does not expire.
    """

    __slots__ = ("_pause", "channel", "due", "expiry", "followers", "outcome", "users")

    def __init__(self, channel: Source) -> None:
        loop = asyncio.get_running_loop()
        self.channel = channel
        self.users = 0
        self.expiry: asyncio.TimerHandle | None = None
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        self.followers: set[asyncio.Event] = set()
        self.due = loop.time() + CHECK_SECONDS
        self._pause = CHECK_SECONDS

    def check_later(self, now: float) -> None:
        """Put the next check off, for twice as long as the last time."""
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self.due = now + self._pause

    def check_soon(self, now: float) -> None:
        """Begin the checks anew, since no notifications come."""
        self._pause = CHECK_SECONDS
        self.due = min(self.due, now + CHECK_SECONDS)

    @property
    def waits_long(self) -> bool:
        """Whether it was checked twice although no notification came: after about three seconds."""
        return self._pause > 2 * CHECK_SECONDS

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
        self._channels: Channels[Source, JobRef] = Channels(broker, self._name_of)
        self._unchecked: dict[str, set[str]] = {}  # by queue
        self._retried: dict[JobRef, float] = {}
        self._explained: set[str] = set()  # queues
        self._advice: set[asyncio.Task[None]] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

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
        now = asyncio.get_running_loop().time()
        self._retried.pop(job, None)
        self._retried[job] = now + RETRIED_SECONDS
        while self._retried[oldest := next(iter(self._retried))] < now:
            del self._retried[oldest]

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
            watch = self._watches[job] = JobWatch(self._listen(job))
        watch.users += 1
        self._check((job,))
        observer = awaiting.get()  # of the worker, if this is inside an attempt
        if observer is not None:
            observer.begin(job.queue)
        try:
            yield watch
        finally:
            if observer is not None:
                observer.end(job.queue)
            watch.users -= 1
            if not watch.users:
                del self._watches[job]
                if watch.expiry is not None:
                    watch.expiry.cancel()
                self._leave(job, watch.channel)

    def _listen(self, job: JobRef) -> Source:
        """Listen to the job's channel."""
        channel = job.queue, route_of(job.key)
        if self._channels.listen(channel, job):
            self._run("subscribe to results", self._channels.subscribe)
            self._run("receive results", self._receive)
            self._run("check results", self._check_forever)
        return channel

    def _name_of(self, source: Source) -> str:
        return self._broker.keys(source[0]).done(source[1])

    def _leave(self, job: JobRef, channel: Source) -> None:
        """Listen no more for this job."""
        self._channels.leave(channel, job)
        if self._channels.too_many:
            self._run("unsubscribe from results", self._channels.unsubscribe)

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do work in a task of its own, unless it is being done."""
        running = self._tasks.get(name)
        if running is None or running.done():
            task = self._tasks[name] = asyncio.create_task(work(), name=name)
            task.add_done_callback(partial(self._end_owed, name))

    def _end_owed(self, name: str, task: asyncio.Task[None]) -> None:
        """However a task ends, no caller may be left waiting for it."""
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (task.exception() is None or isinstance(task.exception(), BrokerError)):
            return  # it came to its end; after a lost connection, the receiving task subscribes to everything again
        self._channels.forget()  # whoever waits next begins anew
        self._unchecked = {}
        for watch in self._watches.values():
            watch.end(BrokerUnavailable("this client was interrupted while it waited: ask for the result again"))

    async def _receive(self) -> None:
        failures = 0
        while True:
            try:
                async for name, message in self._channels.messages():
                    failures = 0
                    self._handle(name, message)
            except Exception as error:
                if not isinstance(error, BrokerError):
                    log.exception("notifications interrupted")
                log.debug("notifications interrupted: %s", error)
                failures += 1
                now = asyncio.get_running_loop().time()
                for watch in self._watches.values():
                    watch.check_soon(now)
                await asyncio.sleep(backoff(failures, last=CHECK_SECONDS))

    def _handle(self, name: str, message: bytes) -> None:
        queue = name.partition("{")[2].partition("}")[0]
        if not message:  # a subscription has just taken effect: earlier notifications were missed
            self._suspect(self._channels.users((queue, name.rpartition(":")[2])))
            return
        for key, outcome in ended_jobs(message):
            job = JobRef(queue, key)
            if outcome is not None and job not in self._retried:
                self._end(job, outcome)
            elif job in self._watches:
                self._check((job,))
        for key in jobs_with_events(message):
            if watch := self._watches.get(JobRef(queue, key)):
                watch.wake()

    def _suspect(self, jobs: Iterable[JobRef]) -> None:
        """Notifications of these jobs may have been lost."""
        self._check(jobs)
        for job in jobs:
            self._watches[job].wake()

    def _check(self, jobs: Iterable[JobRef]) -> None:
        """Read the outcomes of jobs, queue by queue: one whose server does not answer must not delay the others."""
        for job in jobs:
            keys = self._unchecked.get(job.queue)
            if keys is None:
                keys = self._unchecked[job.queue] = set()
                self._run(f"outcomes of {job.queue}", partial(self._check_queue, job.queue))
            keys.add(job.key)

    async def _check_forever(self) -> None:
        """Check the jobs that are due, however many notifications come: the longest overdue ones first."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS * random.uniform(0.75, 1.0))  # noqa: S311 - jitter
            now = loop.time()
            overdue = [(watch.due, job) for job, watch in self._watches.items() if watch.due <= now]
            jobs = [job for _, job in heapq.nsmallest(BATCH_JOBS, overdue)]
            for job in jobs:
                self._watches[job].check_later(now)
            self._suspect(jobs)

    async def _check_queue(self, queue: str) -> None:
        while keys := self._unchecked.pop(queue, None):
            await self._check_keys(queue, [key for key in keys if self._is_unknown(JobRef(queue, key))])

    def _is_unknown(self, job: JobRef) -> bool:
        """Whether somebody waits for its outcome, and it is not known yet: one may be large, and is not read again."""
        watch = self._watches.get(job)
        return watch is not None and not watch.outcome.done()

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
            await asyncio.sleep(backoff(1, CHECK_SECONDS / 2))
            self._unchecked.setdefault(queue, set()).update(keys)

    async def _read(self, queue: str, keys: list[str]) -> None:
        while keys:
            found = await read_outcomes(self._broker, queue, keys[:BATCH_JOBS])
            for key, outcome in zip(keys, found, strict=False):
                job = JobRef(queue, key)
                if outcome is None:
                    self._end(job, JobNotFound(job.id))
                elif outcome.state in ENDED:
                    self._end(job, outcome)
                elif watch := self._watches.get(job):
                    self._note_waiting(job, watch, outcome)
            del keys[: len(found)]

    def _note_waiting(self, job: JobRef, watch: JobWatch, outcome: Outcome) -> None:
        """Check a job again when its time to start is over: nobody else may end it. If it does not start, say why.

        One that is not ended then, for whatever reason, is left to the checks of all jobs.
        """
        loop = asyncio.get_running_loop()
        if outcome.data == b"0":
            watch.check_soon(loop.time())
        elif outcome.data and watch.expiry is None:
            watch.expiry = loop.call_later(int(outcome.data) / 1000, self._check_again, job)
        if outcome.state is State.QUEUED and watch.waits_long and self._may_explain(job.queue):
            self._explained.add(job.queue)
            advice = asyncio.create_task(explain(self._broker, job), name=f"workers of {job.queue}")
            self._advice.add(advice)  # apart from the other tasks: nobody waits for it
            advice.add_done_callback(self._advice.discard)

    def _may_explain(self, queue: str) -> bool:
        return queue not in self._explained and len(self._explained) < MOST_EXPLAINED

    def _check_again(self, job: JobRef) -> None:
        if watch := self._watches.get(job):
            watch.expiry = None
            self._check((job,))

    def _end(self, job: JobRef, outcome: Outcome | TaskServerError) -> None:
        if watch := self._watches.get(job):
            watch.end(outcome)

    async def close(self) -> None:
        """Stop waiting; callers that still wait get an error."""
        for watch in self._watches.values():
            watch.end(ClientUnusable("this client was closed before the job had ended; the job continues"))
        await cancel_and_wait(*self._tasks.values(), *self._advice)
        await self._channels.close()
