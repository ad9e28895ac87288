"""What every service of a worker has in common: it starts, it stops, and its loop survives an unreachable broker."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from taskserver.aio import cancel_and_wait
from taskserver.domain.retry import backoff
from taskserver.errors import BrokerError
from taskserver.worker.process_exit import give_up

log = logging.getLogger("taskserver.worker")

INTERRUPT_SECONDS = 0.1


class Service(ABC):
    """A part of the worker that runs by itself. ``stop`` is harmless when repeated, or when it never started."""

    @abstractmethod
    async def start(self) -> None:
        """Begin."""

    @abstractmethod
    async def stop(self) -> None:
        """End, and return when nothing of it is left. If this is cancelled, it does not wait for the broker."""


class LoopService(Service):
    """A service that does one thing over and over: ``turn``.

    While the broker does not answer, the pauses between turns become longer, and a part of each is random, so that two
    hundred workers do not come back together.

    Attributes:
        broker_errors: Turns that the broker did not answer, or refused.
    """

    name = "service"

    def __init__(self) -> None:
        self.broker_errors = 0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def turn(self) -> None:
        """Do it once; wait while there is nothing to do."""

    async def start(self) -> None:
        """Begin the loop."""
        self._task = asyncio.create_task(self._loop(), name=self.name)
        self._task.add_done_callback(self._begin_again)

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        """Some libraries cancel every task they find: without this service, the worker would only look alive."""
        if ended.cancelled() and not self._stopping.is_set():
            log.warning("%s was cancelled by other code in this process, and begins again", self.name)
            self._task = asyncio.create_task(self._loop(), name=self.name)
            self._task.add_done_callback(self._begin_again)

    async def stop(self) -> None:
        """Let the current turn end, and begin no other."""
        self._stopping.set()
        try:
            while self._task and not self._task.done():
                await self.interrupt()  # again and again: the first may have come just before the turn began to wait
                await asyncio.wait((self._task,), timeout=INTERRUPT_SECONDS)
        except asyncio.CancelledError:
            if self._task:
                await cancel_and_wait(self._task)
            raise

    async def interrupt(self) -> None:
        """Make a waiting turn return early. Not needed where turns only rest, since a stop ends that."""

    async def rest(self, seconds: float, until: asyncio.Event | None = None) -> None:
        """Wait until the time is over or the event is set; without an event, until the stop.

        A service that rests until an event of its own must set it in ``interrupt``.
        """
        try:
            await asyncio.wait_for((until or self._stopping).wait(), seconds)
        except TimeoutError:
            return

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` has been called."""
        return self._stopping.is_set()

    async def _loop(self) -> None:
        try:
            await self._turns()
        except Exception as error:  # noqa: BLE001 - no memory, even to see to an error
            give_up(f"{self.name} cannot continue ({type(error).__name__})")

    async def _turns(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await self.turn()
                if failures:
                    log.info("%s resumed", self.name)
                failures = 0
            except BrokerError as error:
                failures += 1
                self.broker_errors += 1
                level = logging.WARNING if failures == 1 else logging.DEBUG
                log.log(level, "%s is waiting for the broker: %s", self.name, error)
                await self.rest(backoff(failures))
            except MemoryError:
                raise
            except Exception:
                # A bug must not end the loop: the queue would stand still although its worker looks alive.
                failures += 1
                log.exception("%s failed and will try again", self.name)
                await self.rest(backoff(failures))
