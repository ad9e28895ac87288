"""Running attempts: each is a task of its own that goes through the steps below and gives its slot back at the end.

    open → check attempts → run with a time limit → tell the consumer → settle

Whatever a tool does (returns nonsense, raises anything, ignores its cancellation), the attempt is settled once
and only its own job is concerned.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from taskserver.domain.job import ClaimedJob, State
from taskserver.domain.messages import summarize, unpack
from taskserver.domain.partitions import queue_of
from taskserver.domain.signing import Keyring
from taskserver.errors import MessageError, MessageInvalid, ResultInvalid, ToolNotFound
from taskserver.observability.redaction import log_context
from taskserver.observability.tally import UNKNOWN, Tally
from taskserver.tools import Context, Toolbox, codec
from taskserver.tools.failures import failure_of
from taskserver.worker.attempt import Attempt, Opened, StopReason, pack_failure
from taskserver.worker.deadlines import Deadlines
from taskserver.worker.fair_slots import PartitionSlots
from taskserver.worker.process_exit import quit_now
from taskserver.worker.settler import Settler
from taskserver.worker.slots import Slots

UNWIND_SECONDS = 5.0
"""How long an attempt that was told to end may take to clean up before it is settled without it."""

LOGGED_CHARACTERS = 500
"""Of an error's text; all of it is in the job's status."""

log = logging.getLogger("taskserver.worker")


class WorkerLost(Exception):
    """Told of a job whose attempts were all begun and none ended."""


class Executor:
    """Runs claimed jobs in the worker's slots.

    Attributes:
        running: The attempts that hold a lease, by job id. Other threads read it.
        tally: Where attempts are counted; None if nobody counts.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        slots: Slots,
        portions: Mapping[str, Slots | PartitionSlots],
        settlers: Mapping[str, Settler],
        max_result_bytes: int,
        keyring: Keyring | None = None,
        *,
        keep_messages: bool = False,
    ) -> None:
        self._toolbox = toolbox
        self._slots = slots
        self._portions = portions
        self._settlers = settlers
        self._max_result_bytes = max_result_bytes
        self._keyring = keyring
        self._keep_messages = keep_messages
        self.running: dict[str, Attempt] = {}
        self.tally: Tally | None = None
        self._deadlines = Deadlines(lambda attempt: self.end(attempt, StopReason.TIMEOUT))
        self._idle = asyncio.Event()
        self._idle.set()

    def admit(self, jobs: Sequence[ClaimedJob]) -> list[Attempt]:
        """Take claimed jobs over: each holds its lease from now on, and is to ``begin`` or to be dismissed.

        All before the first begins: one that blocks the event loop must not cost the others their leases.
        """
        now = time.monotonic()
        attempts = [Attempt(job, self._settlers[job.queue], now) for job in jobs]
        for attempt in attempts:
            if (earlier := self.running.get(attempt.id)) is not None:  # its lease was lost, and to this very worker
                self.end(earlier, StopReason.LOST)
            self.running[attempt.id] = attempt
            self._idle.clear()
        return attempts

    def begin(self, attempt: Attempt) -> None:
        """Run an attempt in a slot that was taken for it; the slot is given back here."""
        task = _begin(self._live(attempt), asyncio.get_running_loop())
        if not task.done():
            attempt.task = task

    def dismiss(self, attempts: Sequence[Attempt]) -> None:
        """Attempts that have not begun will not do so here."""
        for attempt in attempts:
            self._forget(attempt)

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        await self._idle.wait()

    def end_all(self, why: StopReason) -> None:
        """Tell every running attempt to end."""
        for attempt in list(self.running.values()):
            self.end(attempt, why)

    def end(self, attempt: Attempt, why: StopReason) -> None:
        """Tell an attempt to end, and settle it without its help if it does not."""
        attempt.end(why)
        asyncio.get_running_loop().call_later(UNWIND_SECONDS, self._give_up_on, attempt)

    async def _live(self, attempt: Attempt) -> None:
        try:
            attempt.begin()
            await self._attempt(attempt)
        except asyncio.CancelledError:  # told to end before the tool had begun
            self._settle_stopped(attempt)
        except MemoryError:  # whoever used it up, it is not there to settle the attempt, nor the next ones
            quit_now(f"job {attempt.id}: memory is out")
        except BaseException as error:
            # Not the tool's (those are caught where it runs): a consumer's plan, or a bug of ours.
            log.exception("job %s: its attempt could not be carried out", attempt.id)
            attempt.finish(State.FAILED, pack_failure(failure_of(error, attempt.redact())))
        finally:
            self._forget(attempt)
            outlived = attempt.let_go()
            if outlived is None:
                self._portions[attempt.job.queue].give()
            else:  # its thread cannot be killed, so it keeps the slot
                self._slots.leaked += 1
                outlived.add_done_callback(lambda _: self._found_again(attempt))

    def _found_again(self, attempt: Attempt) -> None:
        """A thread that went on behind its attempt has ended."""
        self._slots.leaked -= 1
        self._portions[attempt.job.queue].give()

    def _forget(self, attempt: Attempt) -> None:
        if self.running.get(attempt.id) is attempt:
            del self.running[attempt.id]
        if not self.running:
            self._idle.set()

    async def _attempt(self, attempt: Attempt) -> None:
        opened = self._open(attempt)
        if opened is None:
            return
        if attempt.job.attempt > opened.max_attempts:
            await self._bury_unrun(attempt, opened)
            return
        attempt.opened = opened
        log_context.set(attempt)
        if self.tally is not None:
            attempt.series = self.tally.start(attempt.job, opened.plan.name)
        attempt.context = context = _context(attempt, opened)
        if opened.limit is not None:
            self._deadlines.add(attempt, opened.limit)
        try:
            result = await opened.consumer.process(opened.message, context)
        except BaseException as error:  # noqa: BLE001 - whatever a tool raises concerns its own job only
            await self._failed(attempt, opened, error)
        else:
            await self._returned(attempt, opened, result)
        finally:
            self._deadlines.discard(attempt)

    def _open(self, attempt: Attempt) -> Opened | None:
        """Read the message and find who runs it; if that cannot be, settle the attempt and return nothing."""
        try:
            attempt.envelope = envelope = unpack(self._vouched_for(attempt.job))
            try:
                consumer = self._toolbox.consumer_for(envelope.type)
            except MessageInvalid as unknown:
                attempt.label = envelope.type
                self._leave(attempt, unknown)
                return None
            message = consumer.decode(envelope.body)
            plan = consumer.plan(message)
        except ToolNotFound as unknown:
            self._leave(attempt, unknown)
            return None
        except MessageError as error:
            failure = failure_of(error, attempt.redact())
            log.warning("job %s is a dead letter: %s", attempt.id, failure.message)
            attempt.finish(State.DEAD, pack_failure(failure))
            self._count_unrun(attempt, UNKNOWN)
            return None
        attempt.label = plan.name
        return Opened(envelope, consumer, message, plan, attempt.job.max_attempts or plan.retry.max_attempts)

    def _vouched_for(self, job: ClaimedJob) -> bytes:
        """The job's message; where there are keys, nothing of it is read before its signature was checked."""
        if self._keyring is None:
            return job.payload
        return self._keyring.open(job.queue, job.key, job.payload, time.time_ns() // 1_000_000)

    def _leave(self, attempt: Attempt, unknown: Exception) -> None:
        log.info("job %s is left for another worker: %s", attempt.id, unknown)
        attempt.defer(failure_of(unknown))

    async def _returned(self, attempt: Attempt, opened: Opened, result: Any) -> None:
        """The tool returned; but one that was told to end and caught its cancellation has not succeeded by that."""
        if attempt.stop is StopReason.TIMEOUT:
            await self._conclude(attempt, opened, opened.timed_out())
        elif attempt.stop in (StopReason.CANCEL, StopReason.LOST):
            self._settle_stopped(attempt)
        else:
            await self._succeeded(attempt, opened, result)

    async def _succeeded(self, attempt: Attempt, opened: Opened, result: Any) -> None:
        try:
            data = codec.encode(result, max_bytes=self._max_result_bytes)
        except ResultInvalid as error:
            await self._conclude(attempt, opened, error)
            return
        if opened.consumer.has_success_hook:
            await self._tell(attempt, opened.consumer.on_success, result, opened.message)
        summary = b"" if self._keep_messages else summarize(opened.envelope, opened.plan.name)
        attempt.finish(State.SUCCEEDED, data, summary=summary)

    async def _failed(self, attempt: Attempt, opened: Opened, error: BaseException) -> None:
        """The tool raised; but whatever comes of one that was told to end, being told is the reason."""
        if attempt.stop is StopReason.TIMEOUT:
            await self._conclude(attempt, opened, opened.timed_out())
        elif attempt.stop is not None:
            self._settle_stopped(attempt)
        elif isinstance(error, asyncio.CancelledError):
            await self._conclude(attempt, opened, RuntimeError("the tool was cancelled by its own code"))
        else:
            await self._conclude(attempt, opened, error)

    async def _conclude(self, attempt: Attempt, opened: Opened, error: BaseException) -> None:
        """Settle an attempt that failed; the consumer hears of it when it was the last."""
        state = opened.verdict(attempt.job.attempt, error)
        if state is not None and not attempt.settled:
            await self._tell(attempt, opened.consumer.on_failure, error, opened.message)
        self._settle_failed(attempt, opened, error, state)

    def _settle_failed(self, attempt: Attempt, opened: Opened, error: BaseException, state: State | None) -> None:
        job, failure = attempt.job, failure_of(error, attempt.redact())
        told = f"{failure.type}: {failure.message[:LOGGED_CHARACTERS]}"
        if state is None:
            wait = opened.plan.retry.wait(job.attempt)
            log.info("job %s: attempt %d failed, the next follows in %.2f s: %s", attempt.id, job.attempt, wait, told)
            attempt.retry(wait, failure)
        else:
            log.warning("job %s is %s after %d attempts: %s", attempt.id, state, job.attempt, told)
            attempt.finish(state, pack_failure(failure))

    async def _bury_unrun(self, attempt: Attempt, opened: Opened) -> None:
        """Its attempts all began and none ended: it may be what killed those workers, so it is not run again."""
        spent = opened.max_attempts
        error = WorkerLost(f"all {spent} attempts are used up, the last by a worker that died or was lost")
        log.warning("job %s is a dead letter: %s", attempt.id, error)
        await self._tell(attempt, opened.consumer.on_failure, error, opened.message)
        attempt.finish(State.DEAD, pack_failure(failure_of(error)), spent)
        self._count_unrun(attempt, opened.plan.name)

    def _count_unrun(self, attempt: Attempt, tool: str) -> None:
        if self.tally is not None:
            self.tally.count_dead(attempt.job.queue, tool)

    async def _tell(self, attempt: Attempt, hook: Callable[..., Awaitable[None]], *what: Any) -> None:
        """Call a consumer's hook. How the job ended stands already: whatever comes of the hook changes nothing.

        The attempt's time limit still holds, so a hook that hangs is interrupted by it.
        """
        try:
            await hook(*what)
        except BaseException:
            log.exception("job %s: the consumer's hook failed", attempt.id)

    def _settle_stopped(self, attempt: Attempt) -> None:
        match attempt.stop:
            case StopReason.CANCEL:
                attempt.finish(State.CANCELLED, b"")
            case StopReason.LOST:
                attempt.abandon()
            case _:
                attempt.release()

    def _give_up_on(self, attempt: Attempt) -> None:
        """The attempt was told to end and goes on all the same: its job goes on without it."""
        if attempt.settled or attempt.stop is None:
            return
        log.warning("job %s %s but does not end: its slot stays taken", attempt.id, attempt.stop.value)
        if attempt.stop is StopReason.TIMEOUT and attempt.opened is not None:
            error = attempt.opened.timed_out()
            state = attempt.opened.verdict(attempt.job.attempt, error)
            self._settle_failed(attempt, attempt.opened, error, state)
        else:
            self._settle_stopped(attempt)
        self._forget(attempt)


if sys.version_info >= (3, 12):

    def _begin(life: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """A task that runs at once as far as it comes without waiting, which spares the event loop a turn for each."""
        return asyncio.Task(life, loop=loop, eager_start=True)

else:

    def _begin(life: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        return loop.create_task(life)


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
        sink=attempt,
    )
