"""The supervisor: keeps the replicas of one assignment alive, restarts and scales them, and stops them."""

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
from taskserver.observability import phrases
from taskserver.worker.identity import HOST

REMEMBERED_COMMANDS = 100

log = logging.getLogger("taskserver.supervisor")


class Supervisor:
    """Keeps N replicas of one assignment alive.

    Several may run in one event loop. It does not handle signals: that is up to the process (``process.py``).

    Args:
        assignment: The same for each replica.
        replicas: How many.
        reload: Whether replicas report their source files, so that these can be watched.

    Attributes:
        name: The name under which the broker and people know it.
        ready: Set while all replicas take jobs.
        refused_files: Source files of the last replica that could not start.

    Raises:
        ConfigError: if the number of replicas is not valid.
    """

    def __init__(self, assignment: Assignment, replicas: int, *, reload: bool = False) -> None:
        check_replicas(replicas)
        self.name = f"{assignment.task_server}@{HOST}-{os.getpid()}"
        self.ready = asyncio.Event()
        self.refused_files: dict[str, Stamp] = {}
        self._assignment = assignment
        self._reload = reload
        self._replica_slots: dict[int, ReplicaSlot] = {}
        self._running: dict[asyncio.Task[None], ReplicaSlot] = {}
        self._wanted = replicas
        self._was_ready = False
        self._refusal: Refused | None = None
        self._last_refusal = ""
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._to_roll: set[int] = set()
        self._roll_requested = asyncio.Event()
        self._seen_commands: deque[str] = deque(maxlen=REMEMBERED_COMMANDS)

    async def run(self) -> None:
        """Keep the replicas alive until ``stop``, and return when all have exited.

        Raises:
            TaskServerError: if the first replicas cannot start (a module that cannot be imported, an unsuitable
                broker): the error of the first of them, once all have exited.
        """
        rolling = asyncio.create_task(self._roll())
        try:
            self._fill()
            while self._running:
                await self._handle_change(rolling)
        finally:
            await cancel_and_wait(rolling)
            await self._stop_everything()
        if self._refusal is not None:
            raise self._refusal.error()
        log.info("supervisor %s has stopped", self.name)

    def stop(self) -> None:
        """Drain every replica; called again, do not wait for running jobs."""
        again = self._stopping.is_set()
        self._stopping.set()
        if not again:
            log.info("supervisor %s is stopping: draining %d replicas", self.name, len(self.replicas))
        for replica_slot in self._replica_slots.values():
            replica_slot.stop(hurry=again)
        self._changed.set()

    def restart(self) -> None:
        """Replace the replicas, one after the other: the new one is ready before the old one drains."""
        self._last_refusal = ""
        self._to_roll |= set(self._replica_slots)
        self._roll_requested.set()

    def scale(self, replicas: int) -> None:
        """Change the number of replicas; those with the highest numbers drain first.

        Raises:
            ConfigError: if the number is not valid.
        """
        check_replicas(replicas)
        staying = self._staying()
        log.info("supervisor %s is scaling from %d to %s", self.name, len(staying), phrases.count(replicas, "replica"))
        self._wanted = replicas
        for number in sorted(staying)[replicas:]:
            self._replica_slots[number].stop()
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
        """The replicas that take jobs, by number, as they have described themselves."""
        ready = (self._replica_slots[number].ready for number in sorted(self._replica_slots))
        return [each for each in ready if each is not None]

    def reopen(self, log_file: str) -> None:
        """Let every replica print to the file of this name from now on."""
        for replica_slot in self._replica_slots.values():
            for child in replica_slot.children:
                child.reopen(log_file)

    def _staying(self) -> dict[int, ReplicaSlot]:
        """The replica slots that are not closing."""
        return {number: each for number, each in self._replica_slots.items() if not each.closing.is_set()}

    def _fill(self) -> None:
        """Add replica slots until there are as many as wanted."""
        free = (number for number in range(1, MAX_REPLICAS * 2) if number not in self._replica_slots)
        for number, _ in zip(free, range(self._wanted - len(self._staying())), strict=False):
            if self._stopping.is_set():
                return
            replica_slot = ReplicaSlot(number, self._make_child, self._changed.set, self._note_refusal)
            self._replica_slots[number] = replica_slot
            self._running[asyncio.create_task(replica_slot.run())] = replica_slot
        self._changed.set()

    def _make_child(self, number: int) -> Child:
        begin = Begin(assignment=self._assignment, supervisor=self.name, number=number, watched=self._reload)
        return Child(begin, self._execute)

    async def _handle_change(self, rolling: asyncio.Task[None]) -> None:
        """Wait for a change, remove replica slots that have ended, and note whether all are ready."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((changed, rolling, *self._running), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(changed)
        self._changed.clear()
        if rolling.done():
            rolling.result()
        for task in [task for task in self._running if task.done()]:
            replica_slot = self._running.pop(task)
            del self._replica_slots[replica_slot.number]
            task.result()
        self._note_ready()

    def _note_ready(self) -> None:
        count = len(self.replicas)
        if count < self._wanted or self._stopping.is_set():
            self.ready.clear()
        elif not self.ready.is_set():
            self._was_ready, self._last_refusal = True, ""
            log.info(
                "supervisor %s is ready: %s of %s",
                self.name,
                phrases.count(count, "replica"),
                self._assignment.task_server,
            )
            self.ready.set()

    def _note_refusal(self, refused: Refused) -> None:
        """Stop if the first replicas cannot start; if later ones cannot, the current ones keep running."""
        self.refused_files = refused.files
        if not self._was_ready and not (self._reload and refused.files):
            self._refusal = self._refusal or refused
            for replica_slot in self._replica_slots.values():
                replica_slot.stop(hurry=True)
            self._stopping.set()
        elif refused.sentence != self._last_refusal:
            self._last_refusal = refused.sentence
            for line in f"a new replica could not start: {refused.sentence}".splitlines():
                log.error("%s", line)

    async def _roll(self) -> None:
        while True:
            await self._roll_requested.wait()
            self._roll_requested.clear()
            while self._to_roll:
                number = min(self._to_roll)
                self._to_roll.discard(number)
                replica_slot = self._replica_slots.get(number)
                if replica_slot is None or replica_slot.closing.is_set() or await replica_slot.roll():
                    continue
                if replica_slot.closing.is_set():
                    continue
                log.error("supervisor %s: rolling restart aborted; the current replicas keep running", self.name)
                self._to_roll.clear()

    def _execute(self, command: FleetCommand) -> None:
        """Carry out a command to this supervisor or one of its replicas, once however often it arrives."""
        if command.id in self._seen_commands or (self._stopping.is_set() and command.action is not Action.HURRY):
            return
        self._seen_commands.append(command.id)
        replica_slots = dict(self._replica_slots)
        if command.whom != self.name:
            replica_slots = {
                n: each for n, each in replica_slots.items() if each.ready and each.ready.name == command.whom
            }
        match command.action:
            case Action.STOP | Action.HURRY:
                self._close(replica_slots, hurry=command.action is Action.HURRY)
            case Action.RESTART:
                self._to_roll |= set(replica_slots)
                self._roll_requested.set()
            case Action.SCALE:
                with suppress(ConfigError):  # reported to whoever sent it
                    self.scale(command.replicas)

    def _close(self, replica_slots: dict[int, ReplicaSlot], *, hurry: bool) -> None:
        """Stop some replicas for good; the supervisor stops with the last ones."""
        self._wanted = len(self._staying().keys() - replica_slots.keys())
        if not self._wanted and not self._stopping.is_set():
            self.stop()
        for replica_slot in replica_slots.values():
            replica_slot.stop(hurry=hurry)
        self._changed.set()

    async def _stop_everything(self) -> None:
        """Whatever ended the run, no replica outlives it."""
        self._stopping.set()
        for replica_slot in self._replica_slots.values():
            replica_slot.stop(hurry=True)
        if self._running:
            await asyncio.wait(self._running)
