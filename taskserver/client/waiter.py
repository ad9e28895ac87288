"""Any number of awaited jobs over one subscription.

A job's id holds its submitter's *route*; the scripts that end a job, or add to its events, tell the channel of
that route. So a client needs one subscription for all jobs it submitted itself, and finds the right channel of
anybody else's from the id alone.

News tell short outcomes; for longer ones they only say where to look, and those are read in batches. And since news
can be lost, everything awaited is looked at once a second anyway.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from taskserver.aio import cancel_and_wait
from taskserver.domain.ids import job_id, route_of
from taskserver.domain.job import Outcome
from taskserver.domain.retry import backoff
from taskserver.errors import BrokerDenied, BrokerError, JobNotFound, TaskServerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.subscription import Subscription
from taskserver.store.jobs import notifications
from taskserver.store.queries import jobs as job_queries

LOOK_SECONDS = 1.0
"""A lost notification costs at most this."""
BATCH = 500

log = logging.getLogger("taskserver.client")

Place = tuple[str, str]
"""A job: its queue and its key."""


class JobWatch:
    """What those who wait for one job share: its outcome, and a signal that its events have grown."""

    __slots__ = ("count", "outcome", "stirred")

    def __init__(self) -> None:
        self.count = 0
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.stirred: set[asyncio.Event] = set()

    def stir(self) -> None:
        """Wake those who follow the job's events."""
        for event in self.stirred:
            event.set()

    def end(self, outcome: Outcome | TaskServerError) -> None:
        """Tell everybody how the job ended, or that it cannot be known."""
        if not self.outcome.done():
            if isinstance(outcome, TaskServerError):
                self.outcome.set_exception(outcome)
                self.outcome.exception()  # seen: those who left must not be reminded of it
            else:
                self.outcome.set_result(outcome)
        self.stir()


class Waiter:
    """Waits for jobs on behalf of a whole client."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._interests: dict[Place, JobWatch] = {}
        self._channels: set[str] = set()
        self._unseen: set[Place] = set()
        self._run_again: set[Place] = set()
        self._wake = asyncio.Event()
        self._listener = Subscription(broker)
        self._tasks: set[asyncio.Task[None]] = set()

    async def outcome(self, queue: str, key: str) -> Outcome:
        """Wait until the job has ended.

        Raises:
            JobNotFound: if there is no record of it.
            BrokerDenied: if the broker does not let us look.
        """
        with self.interest(queue, key) as interest:
            return await asyncio.shield(interest.outcome)

    def run_again(self, queue: str, key: str) -> None:
        """The job has ended before: news of that may still be on the way, so those of its end are not believed."""
        self._run_again.add((queue, key))

    @contextmanager
    def interest(self, queue: str, key: str) -> Iterator[JobWatch]:
        """Take part in waiting for one job, for as long as the block lasts."""
        place = (queue, key)
        interest = self._interests.get(place)
        if interest is None:
            interest = self._interests[place] = JobWatch()
            self._listen(self._channel(place))
        interest.count += 1
        self._look_at(place)
        try:
            yield interest
        finally:
            interest.count -= 1
            if not interest.count:
                del self._interests[place]

    def _channel(self, place: Place) -> str:
        queue, key = place
        return self._broker.keys(queue).done(route_of(key))

    def _listen(self, channel: str) -> None:
        """Hear a channel from now on. It is kept when nobody waits any more: the next job often uses the same."""
        if channel in self._channels:
            return
        self._channels.add(channel)
        if not self._tasks:
            self._tasks = {asyncio.create_task(self._look()), asyncio.create_task(self._hear())}
        else:
            task = asyncio.create_task(self._subscribe(channel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _subscribe(self, channel: str) -> None:
        with suppress(BrokerError):  # whoever hears connects and subscribes to everything anew
            await self._listener.subscribe([channel])

    async def _hear(self) -> None:
        failures = 0
        while True:
            try:
                await self._listener.subscribe(self._channels)
                async for channel, message in self._listener.messages():
                    failures = 0
                    self._note(channel, message)
            except BrokerError as error:
                log.debug("news interrupted: %s", error)
                failures += 1
                await asyncio.sleep(backoff(failures, last=LOOK_SECONDS))

    def _note(self, channel: str, message: bytes) -> None:
        if not message:  # a subscription has just taken effect: what happened before was not heard
            self._look_at(*(place for place in self._interests if self._channel(place) == channel))
            return
        queue = channel.partition("{")[2].partition("}")[0]
        for key, outcome in notifications.ended_jobs(message):
            place = (queue, key)
            if outcome is not None and place not in self._run_again:
                self._tell(place, outcome)
            elif place in self._interests:
                self._look_at(place)
        for key in notifications.jobs_with_events(message):
            if interest := self._interests.get((queue, key)):
                interest.stir()

    def _look_at(self, *places: Place) -> None:
        self._unseen.update(places)
        if self._unseen:
            self._wake.set()

    async def _look(self) -> None:
        """Look where news say, and at everything once a second, however many news there are."""
        due = 0.0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, due - time.monotonic()))
            self._wake.clear()
            if time.monotonic() >= due:
                due = time.monotonic() + LOOK_SECONDS * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
                self._unseen.update(self._interests)
                for interest in self._interests.values():
                    interest.stir()
            places = [place for place in self._unseen if place in self._interests]
            self._unseen.clear()
            by_queue: dict[str, list[Place]] = {}
            for place in places:
                by_queue.setdefault(place[0], []).append(place)
            if len(by_queue) == 1:
                await self._look_into(places)
            elif by_queue:  # at once: what does not answer must not hide what others do
                await asyncio.gather(*map(self._look_into, by_queue.values()))

    async def _look_into(self, places: list[Place]) -> None:
        try:
            await self._read(places)
        except BrokerDenied as error:
            for place in places:
                self._tell(place, BrokerDenied(*error.args))
        except Exception as error:
            if not isinstance(error, BrokerError):
                log.exception("cannot look at results")
            log.debug("cannot look at results: %s", error)
            await asyncio.sleep(backoff(1, LOOK_SECONDS / 2))  # then everything is looked at again when it is due

    async def _read(self, places: list[Place]) -> None:
        queue, keys = places[0][0], [key for _, key in places]
        while keys:
            found = await job_queries.outcomes(self._broker, queue, keys[:BATCH])
            for key, outcome in zip(keys, found, strict=False):
                if outcome is None:
                    self._tell((queue, key), JobNotFound(job_id(queue, key)))
                elif outcome.state.ended:
                    self._tell((queue, key), outcome)
            del keys[: len(found)]

    def _tell(self, place: Place, outcome: Outcome | TaskServerError) -> None:
        if interest := self._interests.get(place):
            interest.end(outcome)

    async def close(self) -> None:
        """Stop waiting; those who still await a job are cancelled."""
        for interest in self._interests.values():
            interest.outcome.cancel()
            interest.stir()
        await cancel_and_wait(*self._tasks)
        await self._listener.close()
