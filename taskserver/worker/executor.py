"""Running attempts: each is a task of its own that goes through five steps and gives its slot back at the end.

    open → run → decide → hooks → settle

Whatever a tool does (returns nonsense, raises anything, ignores its cancellation), the attempt is settled once, and
only its own job is concerned. How an attempt ends is judged in ``outcome.py``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.messages import unpack
from taskserver.domain.partitions import queue_of
from taskserver.domain.settlement import Finish, Settlement
from taskserver.domain.signing import Keyring
from taskserver.errors import MessageError, ToolNotFound
from taskserver.observability.redaction import log_context
from taskserver.observability.tally import UNKNOWN, Tally
from taskserver.tools import BaseConsumer, Context
from taskserver.tools.consumer import no_consumer
from taskserver.worker.attempt import Attempt, Deadlines
from taskserver.worker.outcome import (
    Broken,
    Decision,
    Ending,
    Failed,
    Opened,
    Raised,
    ResultRules,
    Returned,
    StopReason,
    Unfinished,
    Unknown,
    Unreadable,
    UsedUp,
    decide,
    decide_failure,
)
from taskserver.worker.process_exit import give_up
from taskserver.worker.settler import Settler
from taskserver.worker.slots import PartitionSlots, Slots

UNWIND_SECONDS = 5.0
"""How long a stopped attempt may take to clean up before it is settled without its help."""

log = logging.getLogger("taskserver.worker")


class Executor:
    """Runs claimed jobs in the worker's slots.

    Args:
        consumers: What it may run, by the tag of the message type.
        slots: The worker's slots, where those are counted that threads keep.
        rules: What is stored of results.
        keyring: The keys with which messages must be signed; None to take every message.

    Attributes:
        tally: Where attempts are counted; None if nobody counts.
        owner: The task in which the worker runs. When that is cancelled, so is everything in its event loop.
        after_attempt: Called after each attempt; None for nothing.
    """

    def __init__(
        self,
        consumers: Mapping[str, BaseConsumer[Any]],
        slots: Slots,
        rules: ResultRules,
        keyring: Keyring | None = None,
    ) -> None:
        self._consumers = consumers
        self._slots = slots
        self._rules = rules
        self._keyring = keyring
        self.tally: Tally | None = None
        self.owner: asyncio.Task[Any] | None = None
        self.after_attempt: Callable[[], None] | None = None
        self._running: dict[str, Attempt] = {}
        self._deadlines = Deadlines(lambda attempt: self.end(attempt, StopReason.TIMEOUT))
        self._releasing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> list[Attempt]:
        """The attempts that hold a lease. From any thread."""
        return list(self._running.values())

    def holds(self, attempt: Attempt) -> bool:
        """Whether this attempt of its job holds a lease."""
        return self._running.get(attempt.id) is attempt

    def admit(self, jobs: Sequence[ClaimedJob], slots: PartitionSlots, settler: Settler) -> list[Attempt]:
        """Take claimed jobs over: each holds its lease from now on, and must ``begin``.

        Admit all before the first begins: one that blocks the event loop must not cost the others their leases.
        """
        now = time.monotonic()
        attempts = [Attempt(job, slots, settler, now) for job in jobs]
        for attempt in attempts:
            if (earlier := self._running.get(attempt.id)) is not None:  # its lease was lost, and to this very worker
                self.end(earlier, StopReason.LOST)
            self._running[attempt.id] = attempt
            self._idle.clear()
            if self._releasing:
                attempt.stop = StopReason.RELEASE
        return attempts

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Run attempts, each in a slot that was taken for it and is given back here.

        Raises:
            Exception: if there is no memory for it; the attempts that did not begin are forgotten.
        """
        loop, begun = asyncio.get_running_loop(), 0
        try:
            for attempt in attempts:
                task = _begin(self._live(attempt), loop)
                begun += 1
                if not task.done():
                    attempt.task = task
        finally:
            for attempt in attempts[begun:]:
                self._forget(attempt)
                attempt.slots.give()

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        await self._idle.wait()

    def cancel(self, job_id: str) -> None:
        """Stop the job's attempt, since the job was cancelled; harmless if it does not run here."""
        if (attempt := self._running.get(job_id)) is not None:
            self.end(attempt, StopReason.CANCEL)

    def abandon_all(self) -> None:
        """Stop every running attempt and settle none: others take the jobs when the leases run out, an attempt spent.

        For one of them may be why this worker cannot continue, and would bring down the next worker, and so on.
        """
        for attempt in self.running:
            self.end(attempt, StopReason.LOST)

    def release_all(self) -> None:
        """Hand back every running attempt, and every one that is admitted from now on."""
        self._releasing = True
        for attempt in self.running:
            self.end(attempt, StopReason.RELEASE)

    def end(self, attempt: Attempt, why: StopReason) -> None:
        """Stop an attempt, and settle it without its help if it does not end."""
        attempt.end(why)
        asyncio.get_running_loop().call_later(UNWIND_SECONDS, self._give_up_on, attempt)

    async def _live(self, attempt: Attempt) -> None:
        """The whole life of an attempt: whatever happens in it, it is settled, and its slot is given back."""
        try:
            attempt.begin()
            await self._attempt(attempt)
        except asyncio.CancelledError:  # stopped before the tool had begun
            self._settle(attempt, self._decide(attempt, Unfinished(None)))
        except MemoryError:  # there is none left to settle the attempt, nor to run the next ones
            give_up(f"job {attempt.id}: out of memory")
        except BaseException as error:
            # Not the tool's (those are caught where it runs): a consumer's plan, or a bug of ours.
            log.exception("job %s: its attempt could not be carried out", attempt.id)
            self._settle(attempt, self._decide(attempt, Broken(error)))
        finally:
            self._deadlines.discard(attempt)
            self._forget(attempt)
            self._give_slot_back(attempt)
            if self.after_attempt is not None:
                self.after_attempt()

    async def _attempt(self, attempt: Attempt) -> None:
        opened = self._open(attempt)
        ending = await self._run(attempt, opened) if isinstance(opened, Opened) else opened
        decision = self._decide(attempt, ending)
        if decision.hook is not None and not attempt.settled:
            await self._call(decision.hook, attempt)
        self._settle(attempt, decision)
        del ending, decision  # an error's traceback leads to this frame, which must not lead back to the error

    def _open(self, attempt: Attempt) -> Opened | Ending:
        """Read the message and find its consumer. If there is none, or no attempt is left, that is the ending."""
        job = attempt.job
        try:
            attempt.envelope = envelope = unpack(self._verified(job))
            consumer = self._consumers.get(envelope.type)
            if consumer is None:
                attempt.label = envelope.type
                return Unknown(no_consumer(envelope.type, self._consumers))
            message = consumer.decode(envelope.body)
            plan = consumer.plan(message)
        except ToolNotFound as error:
            return Unknown(error)
        except MessageError as error:
            return Unreadable(error)
        attempt.label = plan.name
        max_attempts = job.max_attempts or 1 + plan.retry.max_retries
        attempt.opened = opened = Opened(envelope, consumer, message, plan, max_attempts)
        return UsedUp(opened) if job.attempt > max_attempts else opened

    def _verified(self, job: ClaimedJob) -> bytes:
        """The job's message. Where there are keys, nothing of it is read before its signature is checked."""
        if self._keyring is None:
            return job.payload
        return self._keyring.open(job.queue, job.key, job.payload, time.time_ns() // 1_000_000)

    async def _run(self, attempt: Attempt, opened: Opened) -> Ending:
        """Let the consumer process the message within the time limit."""
        log_context.set(attempt)
        if self.tally is not None:
            attempt.series = self.tally.start(attempt.job, opened.plan.name)
        attempt.context = context = _context(attempt, opened)
        if opened.limit is not None:
            self._deadlines.add(attempt, opened.limit)
        try:
            return Returned(opened, await opened.consumer.process(opened.message, context))
        except BaseException as error:  # noqa: BLE001 - whatever a tool raises concerns its own job only
            if attempt.stop is None and self.owner is not None and self.owner.cancelling():
                attempt.stop = StopReason.RELEASE  # the event loop is being ended: this is not the tool's doing
            return Raised(opened, error)

    def _decide(self, attempt: Attempt, ending: Ending) -> Decision:
        decision = decide(attempt.stop, ending, attempt.job, self._rules, attempt.redact)
        if isinstance(decision, Failed):
            wait = wait_before_retry(decision, attempt.job.attempt)
            return decide_failure(decision, attempt.job, wait, attempt.redact)
        return decision

    async def _call(self, hook: Callable[[], Awaitable[None]], attempt: Attempt) -> None:
        """Call a consumer's hook. How the job ends is already decided: nothing that the hook does changes it.

        The attempt's time limit still applies, so a hook that hangs is interrupted by it.
        """
        try:
            await hook()
        except BaseException:
            log.exception("job %s: the consumer's hook failed", attempt.id)

    def _settle(self, attempt: Attempt, decision: Decision) -> None:
        if not attempt.settle(decision.settlement):
            return
        if decision.line:
            log.log(decision.level, decision.line)
        if attempt.series is None and self.tally is not None and _is_dead(decision.settlement):  # it was not run
            self.tally.count_dead(attempt.job.queue, attempt.label or UNKNOWN)

    def _forget(self, attempt: Attempt) -> None:
        if self.holds(attempt):
            del self._running[attempt.id]
        if not self._running:
            self._idle.set()

    def _give_slot_back(self, attempt: Attempt) -> None:
        outlived = attempt.let_go()
        if outlived is None:
            attempt.slots.give()
        else:  # its thread cannot be killed, so it keeps the slot
            self._slots.leaked += 1
            outlived.add_done_callback(lambda _: self._thread_ended(attempt))

    def _thread_ended(self, attempt: Attempt) -> None:
        """A thread that outlived its attempt has ended."""
        self._slots.leaked -= 1
        attempt.slots.give()

    def _give_up_on(self, attempt: Attempt) -> None:
        """Settle an attempt that was stopped and does not end: its job must not wait for it."""
        if attempt.settled or attempt.stop is None:
            return
        log.warning("job %s did not stop after %s; its slot is still occupied", attempt.id, attempt.stop.value)
        self._settle(attempt, self._decide(attempt, Unfinished(attempt.opened)))
        self._forget(attempt)


if sys.version_info >= (3, 12):

    def _begin(life: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """A task that runs at once as far as it comes without waiting, which spares the event loop a turn for each."""
        return asyncio.Task(life, loop=loop, eager_start=True)

else:

    def _begin(life: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        return loop.create_task(life)


def wait_before_retry(failed: Failed, attempt: int) -> float | None:
    """Seconds to wait after attempt number ``attempt`` failed; None if its consumer sees no use in another one."""
    opened, error = failed
    try:
        useful = opened.consumer.should_retry(error, opened.message)
    except Exception:
        log.exception("%s: should_retry failed; the default rule applies", opened.plan.name)
        useful = BaseConsumer.should_retry(opened.consumer, error, opened.message)
    return opened.plan.retry.wait(attempt) if useful else None


def _is_dead(settlement: Settlement | None) -> bool:
    return isinstance(settlement, Finish) and settlement.state is State.DEAD


def _context(attempt: Attempt, opened: Opened) -> Context:
    job, envelope = attempt.job, opened.envelope
    return Context(
        job_id=attempt.id,
        queue=queue_of(job.queue),
        attempt=job.attempt,
        max_attempts=opened.max_attempts,
        idempotency_key=envelope.idempotency_key or attempt.id,
        session_id=envelope.session_id,
        tags=envelope.tags,
        secrets=envelope.secrets,
        sink=attempt,
    )
