"""The heartbeat: a thread that renews the leases of all running jobs, whatever the event loop is doing.

A tool that blocks the event loop (a forgotten ``time.sleep``, a long parse) would stop renewals made there, and its
job would be run a second time while it still runs. From a thread with its own connection, renewals continue. Code that
holds the interpreter lock stops this thread too; then the lease is lost, and the fence keeps this worker from
writing.

When the event loop is blocked even past its jobs' timeouts, which only it could enforce, the process ends itself:
its jobs go to others.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.lease import LeaseKeeper
from taskserver.worker.attempt import Attempt
from taskserver.worker.process_exit import give_up
from taskserver.worker.service import Service

BEATS_PER_LEASE = 3
RETRY_SECONDS = 0.5

log = logging.getLogger("taskserver.worker")


class HeartbeatSource(NamedTuple):
    """What a heartbeat needs of its worker.

    Attributes:
        running: The attempts that hold a lease. Called from the heartbeat's thread.
        unsettled: Key and fence of each attempt of this partition that has ended, but whose settlement the broker does
            not have yet: over a slow link, a large result may take longer than a lease. Called from the same thread.
        snapshot: The worker's ``WorkerSnapshot``, packed. Called from the heartbeat's thread.
        claiming: Whether a claim of this partition is being answered. Called from the heartbeat's thread.
        attend: Called in the event loop for each attempt that was lost or is to be cancelled, with the reason.
        renewed: Called with a partition whose leases were renewed, and until when they hold, by ``time.monotonic``.
            Called from the heartbeat's thread.
    """

    running: Callable[[], Sequence[Attempt]]
    unsettled: Callable[[str], Sequence[tuple[str, int]]]
    snapshot: Callable[[], bytes]
    claiming: Callable[[str], bool]
    attend: Callable[[Attempt, str], None]
    renewed: Callable[[str, float], None]


class Heartbeat(Service):
    """Renews the leases of a worker's jobs, a few times per lease.

    Args:
        broker: Where.
        worker: The worker's name.
        partitions: Names of the partitions that it works on; read anew with each beat.
        lease: Seconds for which a lease is valid.
        source: What it needs of the worker.

    Attributes:
        answered_at: When the broker answered last, by ``time.monotonic``; 0 before the first time.
        broker_errors: Beats that the broker did not answer, or refused.
    """

    def __init__(
        self, broker: Broker, worker: str, partitions: Iterable[str], lease: float, source: HeartbeatSource
    ) -> None:
        self._keeper = LeaseKeeper(broker, worker, _answer_seconds(lease))
        self._partitions = partitions
        self._lease = lease
        self._beat_seconds = lease / BEATS_PER_LEASE
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._loop_seen = time.monotonic()
        self._missed = 0
        self.answered_at = 0.0
        self.broker_errors = 0
        self._stopped = threading.Event()
        self._first_beat = asyncio.Event()
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread, and return after the first beat: the worker is known to the broker then."""
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._main,), name="taskserver heartbeat", daemon=True)
        self._thread.start()
        await self._first_beat.wait()

    async def stop(self) -> None:
        """End the thread. Cancelled, it does not wait for the answer to the last beat."""
        self._stopped.set()
        if self._thread:
            await self._ended.wait()

    def _main(self) -> None:
        try:
            self._beats()
        except Exception as error:  # noqa: BLE001 - no memory, even to see to an error
            give_up(f"leases cannot be renewed any more ({type(error).__name__})")
        finally:
            self._call_in_loop(self._ended.set)

    def _beats(self) -> None:
        failures = 0
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                self._beat()
                self.answered_at = time.monotonic()
                failures = 0
                pause = self._beat_seconds
            except Exception as error:
                failures += 1
                known = isinstance(error, BrokerError)
                self.broker_errors += known
                level = (logging.WARNING if known else logging.ERROR) if failures == 1 else logging.DEBUG
                log.log(level, "leases are not renewed: %s", error, exc_info=None if known else error)
                pause = random.uniform(0.5, 1.0) * min(RETRY_SECONDS, self._beat_seconds / 2)  # noqa: S311 - jitter
            self._call_in_loop(self._first_beat.set)
            self._watch_loop()
        self._keeper.close()

    def _beat(self) -> None:
        """Renew every lease that can be renewed: a server that is away must not cost the leases of jobs at others.

        Raises:
            BrokerError: if any of them could not be.
        """
        attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
        for attempt in self._source.running():
            attempts[attempt.job.queue].append(attempt)
        snapshot = self._source.snapshot()
        first: BrokerError | None = None
        self._keeper.begin()
        for partition in self._partitions:
            try:
                self._renew(partition, attempts[partition], snapshot)
            except BrokerError as error:
                first = first or error
        if first is not None:
            raise first

    def _renew(self, partition: str, attempts: list[Attempt], snapshot: bytes) -> None:
        # By attempt: when the answer comes, this worker may be running the next attempt of the same job.
        held = {attempt.job.key: attempt for attempt in attempts}
        fences = [(key, attempt.job.fence) for key, attempt in held.items()]
        fences += [(key, fence) for key, fence in self._source.unsettled(partition) if key not in held]
        begun = time.monotonic()
        for attention in self._keeper.renew(partition, fences, snapshot, round(self._lease * 1000)):
            if attention.key in held:  # else it has ended, and its settlement is refused by its fence
                self._call_in_loop(self._source.attend, held[attention.key], attention.reason)
        self._source.renewed(partition, begun + self._lease)
        if self._source.claiming(partition):  # over a slow link, an answer may take longer than a lease
            self._keeper.hold(partition, round(self._beat_seconds * 500))

    def _watch_loop(self) -> None:
        """Give up if the event loop has been silent for a lease and longer than any job may take.

        Silent through several beats, that is: a process that was frozen, and its machine, come back with a late
        clock and a loop that answers at once.
        """
        now = time.monotonic()
        self._missed += 1
        self._call_in_loop(self._note_loop)
        silent = now - self._loop_seen if self._missed > BEATS_PER_LEASE else 0.0
        overdue = [a for a in self._source.running() if a.deadline and now > a.deadline + self._lease]
        if silent > self._lease and overdue:
            job = f"job {overdue[0].id} ({overdue[0].label})"
            self._stopped.set()  # so that the jobs go to others, whatever becomes of this process
            give_up(f"the event loop has been blocked for {silent:.0f} s, past the timeout of {job}")

    def _note_loop(self) -> None:
        self._loop_seen = time.monotonic()
        self._missed = 0

    def _call_in_loop(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: the worker has stopped
            self._stopped.set()


def _answer_seconds(lease: float) -> float:
    """How long a beat waits for its answer: one that is lost must leave time for another before the lease is over."""
    beat = lease / BEATS_PER_LEASE
    return min(beat, max(beat / 2, 1.0))
