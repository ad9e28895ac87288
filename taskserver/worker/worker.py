"""A worker: one process that claims and runs jobs. Here its services are built, listed, started and stopped.

ARCHITECTURE, "Inside a worker", lists them: what each does, and in which order they start and stop. ``partitions.py``
keeps those of which there is one per partition.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from taskserver.aio import unless
from taskserver.config.keys import keyring
from taskserver.config.settings import secret_names
from taskserver.domain.fleet import Action, WorkerSnapshot
from taskserver.domain.retry import backoff
from taskserver.domain.settlement import DeferLimits
from taskserver.domain.signing import Keyring
from taskserver.errors import BrokerFull, BrokerUnavailable, BrokerUnsuitable, TLSFailed, WorkerBroken
from taskserver.observability.awaiting import awaiting
from taskserver.observability.phrases import count, listed
from taskserver.observability.tally import Tally, counting
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.control import COMMAND, GROWN
from taskserver.store.broker.health import check_suitable
from taskserver.store.scripts import load_scripts
from taskserver.tools import RunningToolbox, Toolbox
from taskserver.tools.processes import ProcessPool, processes
from taskserver.version import VERSION
from taskserver.worker.attempt import Attempt
from taskserver.worker.config import WorkerConfig
from taskserver.worker.control import Control, read_command
from taskserver.worker.deadlock import DeadlockObserver
from taskserver.worker.executor import Executor
from taskserver.worker.heartbeat import Heartbeat, HeartbeatSource
from taskserver.worker.identity import HOST, PYTHON, WorkerIdentity, oldest, resident_bytes
from taskserver.worker.maintenance.partition_watcher import PartitionWatcher
from taskserver.worker.maintenance.recycler import Recycler
from taskserver.worker.maintenance.schema_watcher import SchemaWatcher
from taskserver.worker.outcome import ResultRules, StopReason
from taskserver.worker.pace import Pace
from taskserver.worker.partition import PartitionSettings, attempts_cap
from taskserver.worker.partitions import Partitions
from taskserver.worker.process_exit import EXIT_RECYCLE, ending, quit_now
from taskserver.worker.service import Service
from taskserver.worker.shutdown import Shutdown
from taskserver.worker.slots import FairSlots, Slots
from taskserver.worker.vitals import Vitals

log = logging.getLogger("taskserver.worker")


class Worker:
    """Runs jobs until it is stopped. Build it inside a running event loop.

    Args:
        broker: Where; the worker does not close it.
        toolbox: The tools and consumers that it may run, and nothing else.
        config: How.
        identity: What it is part of.

    Attributes:
        name: Host, process id and something random: its name at the broker.
        ready: Set once it takes jobs.
        toolbox: As given.
        metrics_port: Where its metrics are served, to be shown with it; None for nowhere.
        recycle: Why it ended, or is about to, in order to be replaced by a fresh one; else None. The owner of the
            process then ends it with ``EXIT_RECYCLE``.

    Raises:
        ConfigError: if the configuration or toolbox cannot work.
    """

    def __init__(
        self,
        broker: Broker,
        toolbox: Toolbox,
        config: WorkerConfig | None = None,
        identity: WorkerIdentity | None = None,
    ) -> None:
        self.config = config or WorkerConfig()
        self.config.check()
        self.metrics_port: int | None = None
        self.name = f"{HOST}-{os.getpid()}-{secrets.token_hex(3)}"
        self.toolbox = toolbox
        self.ready = asyncio.Event()
        self.recycle: str | None = None
        self._identity = identity or WorkerIdentity()
        self._broker = broker
        self._keyring = keyring(self.config.signing_keys)
        self._tally: Tally | None = None
        self._built_at = time.monotonic()
        self._stopping = asyncio.Event()
        self._stop_requested = asyncio.Event()
        self._hurry = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._failure: BrokerUnsuitable | WorkerBroken | None = None
        self._build()

    def _build(self) -> None:
        config, broker, toolbox = self.config, self._broker, self.toolbox
        limits = DeferLimits(round(config.unknown_tool_wait * 1000))
        settings = PartitionSettings(broker, self.name, limits, config.lease, attempts_cap(toolbox), Pace())
        rules = ResultRules(config.max_message_bytes, config.keep_messages)
        self._slots = Slots(config.concurrency, config.max_jobs)
        fair_slots = FairSlots(self._slots, config.shares)
        self._running = RunningToolbox(toolbox)
        self._executor = Executor(self._running.consumers, self._slots, rules, self._keyring)
        self._control = Control(broker, {GROWN: self._look_for_partitions}, {COMMAND: self._obey})
        self._partitions = Partitions(settings, fair_slots, self._executor, self._control, self._snapshot)
        self._partitions.add(config.queues)
        source = HeartbeatSource(
            lambda: self._executor.running,
            lambda name: self._partitions[name].settler.unsettled,
            self._snapshot,
            lambda name: self._partitions[name].fetcher.claiming,
            self._attend,
            self._partitions.renewed,
        )
        self._heartbeat = Heartbeat(broker, self.name, self._partitions, config.lease, source)
        tools = toolbox.tools.values()
        self._processes = ProcessPool(config.concurrency, tools, config.max_message_bytes, secret_names())
        self._recycler = Recycler(self._slots, config.max_rss, self._end_to_recycle)
        self._partition_watcher = PartitionWatcher(broker, config.queues, self._partitions, self._partitions.take_up)
        self._schema_watcher = SchemaWatcher(broker, self._end_outgrown)
        self._shutdown = Shutdown(
            self.name,
            self._upkeep,
            executor=self._executor,
            processes=self._processes,
            toolbox=self._running,
            partitions=self._partitions,
            control=self._control,
            heartbeat=self._heartbeat,
        )

    def stop(self) -> None:
        """Stop claiming, let running jobs end within the grace period, hand the rest back. Again: do not wait."""
        if self._stop_requested.is_set():
            self._hurry.set()
        self._stop_requested.set()
        self._stopping.set()

    def hurry(self) -> None:
        """Stop, and do not wait for running jobs."""
        self.drain()
        self._hurry.set()

    def drain(self) -> None:
        """Stop claiming and let running jobs end within the grace period; harmless when repeated."""
        if not self._stop_requested.is_set():
            self.stop()

    async def until_stopping(self) -> None:
        """Wait until it takes no more jobs."""
        await self._stopping.wait()

    @property
    def leaked_threads(self) -> int:
        """Threads of sync tools that have outlived their attempts; each holds a slot."""
        return self._slots.leaked

    @property
    def tool_processes(self) -> int:
        """Processes that run CPU-bound tools for this worker, busy and idle ones."""
        return self._processes.count

    @property
    def not_ready(self) -> str:
        """Why it takes no jobs just now; empty if it does. From any thread."""
        if self._stopping.is_set():
            return "stopping: it takes no more jobs"
        if not self.ready.is_set():
            return "starting: it does not take jobs yet"
        silence = time.monotonic() - self._heartbeat.answered_at
        if silence > self.config.lease:
            return f"the broker has not answered a heartbeat for {silence:.1f} s"
        return ""

    def call_after_attempts(self, call: Callable[[], None]) -> None:
        """Call this in the event loop after each attempt."""
        self._executor.after_attempt = call

    def counting_into(self, tally: Tally) -> Vitals:
        """Count into ``tally`` what it does from now on; call it before ``run``. Returns what else can be measured."""
        self._tally = self._executor.tally = tally
        others = (self._control, self._partition_watcher)
        return Vitals(self._slots, self._heartbeat, self._partitions, others)

    async def run(self) -> None:
        """Work until ``stop`` is called; a broker that is down is waited for.

        Raises:
            ToolInvalid: if the class of a tool or a consumer could not be instantiated.
            WorkerBroken: if it could not continue. A worker that owns its process ends that instead.
            BrokerUnsuitable, BrokerDenied: if this broker is not suitable, or no longer; then running jobs have ended.
        """
        load_scripts()
        self._executor.owner = asyncio.current_task()
        ending.set(quit_now if self._identity.owns_process else self._give_up)
        if self._tally is not None:
            counting.set(self._tally.submissions)
        awaiting.set(DeadlockObserver(self._slots, self.config.queues))
        try:
            if await unless(self._stopping, self._prepare()):
                await self._work()
        finally:
            await self._running.stop()  # again, unless it did not come to a shutdown

    async def _prepare(self) -> None:
        """Get ready what may fail, before anything runs."""
        await self._running.start()
        await self._find_broker()

    async def _work(self) -> None:
        used = processes.set(self._processes)  # the tasks of all attempts inherit it
        try:
            if await unless(self._stopping, self._start()):
                await self._stopping.wait()
        finally:
            await self._shut_down()
            processes.reset(used)
        if self._failure is not None:
            raise self._failure

    async def _find_broker(self) -> None:
        """Wait until the broker answers, and check that it is suitable."""
        failures = 0
        while True:
            try:
                await check_suitable(self._broker)
                await self._open_partitions()
                return
            except TLSFailed:
                raise
            except (BrokerUnavailable, BrokerFull) as error:
                failures += 1
                wait = backoff(failures)
                log.warning("waiting for the broker, trying again in %.1f s: %s", wait, error)
                await asyncio.sleep(wait)

    async def _start(self) -> None:
        settlers = (partition.settler for partition in self._partitions.values())
        for service in (self._heartbeat, self._control, *settlers, *self._upkeep()):
            await service.start()
        self.ready.set()
        log.info("worker %s is ready: %s", self.name, _summary(self.config, self.toolbox, self._keyring))

    async def _open_partitions(self) -> None:
        queues = self.config.queues
        await self._partitions.open(queues)
        await self._partitions.declare(share for share in self.config.shares if share.queue in queues)
        await self._partitions.open(await self._partition_watcher.find(thorough=True))

    def _upkeep(self) -> list[Service]:
        """What brings jobs and keeps the queues healthy."""
        kinds = zip(*(partition.upkeep for partition in self._partitions.values()), strict=True)
        services = (service for kind in kinds for service in kind)
        return [*services, self._recycler, self._partition_watcher, self._schema_watcher]

    async def _shut_down(self) -> None:
        log.info("worker %s is stopping; running jobs: %d", self.name, self._slots.busy)
        # Nobody is in a hurry if it is only to be replaced: jobs that run have their own time limits.
        unhurried = self._stop_requested if self.recycle else None
        await self._shutdown.run(self.config.grace_period, self._hurry, unhurried)
        log.info("worker %s has stopped", self.name)

    def _end_outgrown(self, error: BrokerUnsuitable) -> None:
        if not self._stopping.is_set():
            self._failure = error
            log.error("worker %s is stopping: %s", self.name, error)
            self._stopping.set()

    def _give_up(self, why: str) -> None:
        """Stop, and leave the process to the program that contains this worker. From any thread."""
        with suppress(Exception):  # there may be no memory left
            log.critical("%s: worker %s ends itself", why, self.name)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._end_broken, why)

    def _end_broken(self, why: str) -> None:
        self._failure = self._failure or WorkerBroken(f"worker {self.name} has ended itself: {why}")
        self._executor.abandon_all()
        self.hurry()

    def _end_to_recycle(self, why: str) -> None:
        if not self._stopping.is_set():
            self.recycle = why
            log.warning(
                "worker %s is stopping to be replaced by a fresh process (exit code %d): %s",
                self.name,
                EXIT_RECYCLE,
                why,
            )
            self._stopping.set()

    def _attend(self, attempt: Attempt, reason: str) -> None:
        """Stop an attempt that was lost or cancelled, as the answer to a heartbeat said."""
        if not self._executor.holds(attempt):  # it has ended meanwhile
            return
        if reason == "lost":
            log.warning("job %s was taken from this worker: its lease had run out", attempt.id)
            self._partitions[attempt.job.queue].leases_lost += 1
            self._executor.end(attempt, StopReason.LOST)
        else:
            self._executor.end(attempt, StopReason.CANCEL)

    def _obey(self, text: str) -> None:
        """Carry out a command that concerns this worker, or hand it to the supervisor."""
        command = read_command(text)
        if command is None or command.whom not in (self.name, self._identity.supervisor):
            return
        if self._identity.pass_on is not None:
            self._identity.pass_on(command)
        elif command.action is Action.HURRY:
            self.hurry()
        elif command.action is Action.STOP:
            self.drain()
        else:
            log.warning("worker %s cannot %s: it has no supervisor", self.name, command.action.value)

    def _look_for_partitions(self, _: str) -> None:
        self._partition_watcher.look_again()

    def _snapshot(self) -> bytes:
        """Its ``WorkerSnapshot``, packed. From any thread."""
        config, identity = self.config, self._identity
        return msgspec.msgpack.encode(
            WorkerSnapshot(
                name=self.name,
                host=HOST,
                pid=os.getpid(),
                python=PYTHON,
                version=VERSION,
                task_server=identity.task_server,
                supervisor=identity.supervisor,
                replica=identity.replica,
                uptime=round(time.monotonic() - self._built_at, 3),
                valid_ms=round(config.lease * 1000),
                rss=resident_bytes(),
                metrics_port=self.metrics_port,
                concurrency=config.concurrency,
                busy=self._slots.busy,
                queues=list(config.queues),
                tools=sorted(self.toolbox.tools),
                running=oldest(self._executor.running),
                stopping=self._stopping.is_set(),
            )
        )


def _summary(config: WorkerConfig, toolbox: Toolbox, keyring: Keyring | None) -> str:
    parts = [
        listed("queue", config.queues),
        count(config.concurrency, "slot"),
        listed("tool", sorted(toolbox.tools)),
        *(["only signed messages"] if keyring else []),
    ]
    return "; ".join(parts)


__all__ = ["Worker"]
