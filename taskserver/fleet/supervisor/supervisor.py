"""The supervisor: keeps replicas of one assignment alive, rolls and scales them, and stops them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from contextlib import suppress

from taskserver.aio import cancel_and_wait
from taskserver.domain.fleet import MAX_REPLICAS, Action, FleetCommand, check_replicas
from taskserver.errors import ConfigError
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.link import Begin, Ready, Refused
from taskserver.fleet.sources import Stamp
from taskserver.fleet.supervisor.child import Child
from taskserver.fleet.supervisor.replica_slot import ReplicaSlot
from taskserver.worker.identity import HOST

REMEMBERED_ORDERS = 100

log = logging.getLogger("taskserver.supervisor")


class Supervisor:
    """Keeps N replicas of one assignment alive.

    Several may run in one event loop. It leaves signals alone; whoever runs it decides about those.

    Args:
        assignment: The same for each replica.
        replicas: How many.
        reload: Whether replicas tell of their source files, so that somebody can watch those.

    Attributes:
        name: Who it is to the broker and to people.
        ready: Set while all replicas take jobs.
        refused_files: Source files of the replica that could not work last.

    Raises:
        ConfigError: if there cannot be so many.
    """

    def __init__(self, assignment: Assignment, replicas: int, *, reload: bool = False) -> None:
        check_replicas(replicas)
        self.name = f"{assignment.task_server}@{HOST}-{os.getpid()}"
        self.ready = asyncio.Event()
        self.refused_files: dict[str, Stamp] = {}
        self._assignment = assignment
        self._reload = reload
        self._seats: dict[int, ReplicaSlot] = {}
        self._keeping: dict[asyncio.Task[None], ReplicaSlot] = {}
        self._wanted = replicas
        self._begun = False
        self._refusal: Refused | None = None
        self._last_refusal = ""
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._rolling: set[int] = set()
        self._roll_wanted = asyncio.Event()
        self._orders: deque[str] = deque(maxlen=REMEMBERED_ORDERS)

    async def run(self) -> None:
        """Keep the replicas alive until ``stop``, and return when all are gone.

        Raises:
            TaskServerError: if the replicas cannot start at all (a module that cannot be imported, a broker that will
                not do): what the first of them said, when none is left.
        """
        rolling = asyncio.create_task(self._roll())
        try:
            self._fill()
            while self._keeping:
                await self._turn(rolling)
        finally:
            await cancel_and_wait(rolling)
            await self._clear()
        if self._refusal is not None:
            raise self._refusal.error()
        log.info("supervisor %s has stopped", self.name)

    def stop(self) -> None:
        """Let every replica drain; called again, do not wait."""
        again = self._stopping.is_set()
        self._stopping.set()
        if not again:
            log.info("supervisor %s stops: %d replicas drain", self.name, len(self.replicas))
        for seat in self._seats.values():
            seat.stop(hurry=again)
        self._changed.set()

    def restart(self) -> None:
        """Replace the replicas, one after the other: the new one is ready before the old one drains."""
        self._last_refusal = ""
        self._rolling |= set(self._seats)
        self._roll_wanted.set()

    def scale(self, replicas: int) -> None:
        """Have so many replicas from now on; those with the highest numbers drain first.

        Raises:
            ConfigError: if there cannot be so many.
        """
        check_replicas(replicas)
        staying = [number for number, seat in self._seats.items() if not seat.leaving.is_set()]
        log.info("supervisor %s scales from %d to %d replicas", self.name, len(staying), replicas)
        self._wanted = replicas
        for number in sorted(staying)[replicas:]:
            self._seats[number].stop()
        self._fill()

    async def until_stopping(self) -> None:
        """Wait until it stops."""
        await self._stopping.wait()

    @property
    def wanted(self) -> int:
        """How many replicas there should be."""
        return self._wanted

    @property
    def replicas(self) -> list[Ready]:
        """What the replicas that take jobs have said of themselves, by number."""
        ready = (self._seats[number].ready for number in sorted(self._seats))
        return [each for each in ready if each is not None]

    def reopen(self, log_file: str) -> None:
        """Let every replica print to the file of that name from now on."""
        for seat in self._seats.values():
            for child in seat.children:
                child.reopen(log_file)

    def _fill(self) -> None:
        """Add seats until there are as many as wanted."""
        staying = [seat for seat in self._seats.values() if not seat.leaving.is_set()]
        free = (number for number in range(1, MAX_REPLICAS * 2) if number not in self._seats)
        for number, _ in zip(free, range(self._wanted - len(staying)), strict=False):
            if self._stopping.is_set():
                return
            seat = self._seats[number] = ReplicaSlot(number, self._hire, self._changed.set, self._hear_refusal)
            self._keeping[asyncio.create_task(seat.keep())] = seat
        self._changed.set()

    def _hire(self, number: int) -> Child:
        begin = Begin(assignment=self._assignment, supervisor=self.name, number=number, watched=self._reload)
        return Child(begin, self._obey)

    async def _turn(self, rolling: asyncio.Task[None]) -> None:
        """See to what has changed."""
        news = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((news, rolling, *self._keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(news)
        self._changed.clear()
        if rolling.done():
            rolling.result()
        for task in [task for task in self._keeping if task.done()]:
            seat = self._keeping.pop(task)
            del self._seats[seat.number]
            task.result()
        self._note_ready()

    def _note_ready(self) -> None:
        count = len(self.replicas)
        if count < self._wanted or self._stopping.is_set():
            self.ready.clear()
        elif not self.ready.is_set():
            self._begun, self._last_refusal = True, ""
            log.info("supervisor %s is ready: %d replicas of %s", self.name, count, self._assignment.task_server)
            self.ready.set()

    def _hear_refusal(self, refused: Refused) -> None:
        """The first replicas must be able to work; if later ones cannot, those that can go on."""
        self.refused_files = refused.files
        if not self._begun and not (self._reload and refused.files):
            self._refusal = self._refusal or refused
            for seat in self._seats.values():
                seat.stop(hurry=True)
            self._stopping.set()
        elif refused.sentence != self._last_refusal:
            self._last_refusal = refused.sentence
            for line in f"a new replica cannot work: {refused.sentence}".splitlines():
                log.error("%s", line)

    async def _roll(self) -> None:
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted.clear()
            while self._rolling:
                number = min(self._rolling)
                self._rolling.discard(number)
                seat = self._seats.get(number)
                if seat is None or seat.leaving.is_set() or await seat.roll():
                    continue
                if seat.leaving.is_set():
                    continue
                log.error("supervisor %s gives the restart up: the replicas that run go on", self.name)
                self._rolling.clear()

    def _obey(self, order: FleetCommand) -> None:
        """Carry out what somebody wants of this supervisor, or of one of its replicas; the same order only once."""
        if order.id in self._orders or (self._stopping.is_set() and order.action is not Action.HURRY):
            return
        self._orders.append(order.id)
        if order.whom == self.name:
            seats = dict(self._seats)
        else:
            seats = {n: seat for n, seat in self._seats.items() if seat.ready and seat.ready.name == order.whom}
        match order.action:
            case Action.STOP | Action.HURRY:
                self._let_go(seats, hurry=order.action is Action.HURRY)
            case Action.RESTART:
                self._rolling |= set(seats)
                self._roll_wanted.set()
            case Action.SCALE:
                with suppress(ConfigError):  # who gave it has been told so
                    self.scale(order.replicas)

    def _let_go(self, seats: dict[int, ReplicaSlot], *, hurry: bool) -> None:
        """Stop some replicas, for good; the last ones take the supervisor with them."""
        staying = [seat for n, seat in self._seats.items() if n not in seats and not seat.leaving.is_set()]
        self._wanted = len(staying)
        if not staying and not self._stopping.is_set():
            self.stop()
        for seat in seats.values():
            seat.stop(hurry=hurry)
        self._changed.set()

    async def _clear(self) -> None:
        """Whatever ended the run, no replica outlives it."""
        self._stopping.set()
        for seat in self._seats.values():
            seat.stop(hurry=True)
        if self._keeping:
            await asyncio.wait(self._keeping)
