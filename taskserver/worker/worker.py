"""A worker: one process that claims and runs jobs. Here its services are built, listed, started and stopped.

========== ==============================================================  =================
service    what it does                                                    one per
========== ==============================================================  =================
heart      renews leases from a thread                                     worker
control    hears of cancelled jobs at once                                 worker
settler    brings reports and outcomes to the broker                       partition
sweeper    takes back the jobs of workers that fell silent                 partition
janitor    finds jobs that nothing would wake any more                     partition
scheduler  puts delayed jobs back on time                                  partition
fetcher    claims jobs for free slots                                      partition
recycler   finds that this process should be replaced by a fresh one       worker
surveyor   finds partitions that a queue has got since                     worker
lookout    sees when the broker's keys are no longer ours to write         worker
========== ==============================================================  =================
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable

import msgspec

from taskserver.config.keys import keyring
from taskserver.domain.fleet import Action, WorkerSnapshot
from taskserver.domain.partitions import queue_of
from taskserver.domain.retry import backoff
from taskserver.domain.settlement import DeferLimits
from taskserver.domain.signing import Keyring
from taskserver.errors import BrokerError, BrokerFull, BrokerUnavailable, BrokerUnsuitable
from taskserver.observability.tally import Tally, counting
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.control import GROWN
from taskserver.store.broker.health import check_suitable
from taskserver.store.jobs.lease import announce
from taskserver.store.jobs.recover import leave
from taskserver.store.maintenance.partitioning import grow
from taskserver.tools import Toolbox
from taskserver.tools.processes import ProcessPool, processes
from taskserver.version import VERSION
from taskserver.worker.attempt import Attempt
from taskserver.worker.config import WorkerConfig
from taskserver.worker.control import Control, read_order
from taskserver.worker.executor import Executor
from taskserver.worker.fair_slots import FairSlots
from taskserver.worker.heartbeat import Heartbeat, HeartbeatSource
from taskserver.worker.identity import HOST, PYTHON, WorkerIdentity, resident_bytes, told
from taskserver.worker.maintenance.partition_watcher import PartitionWatcher
from taskserver.worker.maintenance.recycler import Recycler
from taskserver.worker.maintenance.schema_watcher import SchemaWatcher
from taskserver.worker.outcome import ResultRules, StopReason
from taskserver.worker.partition import Partition, PartitionSettings, attempts_cap
from taskserver.worker.process_exit import EXIT_RECYCLE
from taskserver.worker.service import Service
from taskserver.worker.slots import Slots
from taskserver.worker.vitals import Vitals

log = logging.getLogger("taskserver.worker")


class Worker:
    """Runs jobs until it is told to stop. Build it inside a running event loop.

    Args:
        broker: Where; the worker does not close it.
        toolbox: The tools and consumers it may run, and nothing else.
        config: How.
        post: Where it belongs.

    Attributes:
        name: Host, process id and something random: who it is to the broker.
        ready: Set once it takes jobs.
        toolbox: As given.
        metrics_port: Where its metrics are served, for whoever looks at it; None for nowhere.
        recycle: Why it ended, or is about to, in order to be replaced by a fresh one; else None. Whoever owns the
            process then ends it with ``EXIT_RECYCLE``.

    Raises:
        ConfigError: if the configuration or toolbox cannot work.
    """

    def __init__(
        self, broker: Broker, toolbox: Toolbox, config: WorkerConfig | None = None, post: WorkerIdentity | None = None
    ) -> None:
        self.config = config or WorkerConfig()
        self.config.check()
        self.metrics_port: int | None = None
        self._post = post or WorkerIdentity()
        self.name = f"{HOST}-{os.getpid()}-{secrets.token_hex(3)}"
        self._keyring = keyring(self.config.signing_keys)
        self._broker = broker
        self.toolbox = toolbox
        self._tally: Tally | None = None
        self._leases_lost = dict.fromkeys(self.config.queues, 0)
        self._built = time.monotonic()
        self.ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._told = asyncio.Event()
        self._hurry = asyncio.Event()
        self.recycle: str | None = None
        self._outgrown: BrokerUnsuitable | None = None
        self._build()
        self._add(self.config.queues)

    def _build(self) -> None:
        config, broker, queues = self.config, self._broker, self.config.queues
        self._slots = Slots(config.concurrency, config.max_jobs)
        self._processes = ProcessPool(config.concurrency, self.toolbox.tools.values(), config.max_message_bytes)
        self._recycler = Recycler(self._slots, config.max_rss, self._replace_me)
        patience = DeferLimits(round(config.unknown_tool_wait * 1000))
        self._terms = PartitionSettings(broker, self.name, patience, config.lease, attempts_cap(self.toolbox))
        self._portions = FairSlots(self._slots, config.shares)
        self._works: dict[str, Partition] = {}
        self._partitions: list[str] = []
        self._lookout = SchemaWatcher(broker, self._give_way)
        self._executor = Executor(
            self.toolbox,
            self._slots,
            ResultRules(config.max_message_bytes, config.keep_messages),
            self._keyring,
        )
        pulse = HeartbeatSource(lambda: self._executor.running, self._about, self._attend)
        self._heart = Heartbeat(broker, self.name, self._partitions, config.lease, pulse)
        self._control = Control(broker, {})
        self._surveyor = PartitionWatcher(broker, queues, self._works, self._take_up)

    def _add(self, partitions: Iterable[str]) -> list[Partition]:
        """Build what there is one of per partition, for those that there is none of yet; nothing starts by that."""
        new = [name for name in partitions if name not in self._works]
        self._portions.add(new)
        slots = self._portions.taken_from
        for name, work in self._works.items():
            work.fetcher.share(slots[name])
        for name in new:
            work = self._works[name] = Partition(name, self._terms, slots[name], self._executor)
            self._partitions.append(name)  # the heart reads it from its thread: the last step
        return [self._works[name] for name in new]

    async def _take_up(self, partitions: list[str]) -> None:
        """Work on more partitions from now on."""
        for name in partitions:
            await self._broker.prepare(name)
        valid_ms = round(self.config.lease * 1000)
        await asyncio.to_thread(announce, self._broker, self.name, partitions, self._about(), valid_ms)
        works = self._add(partitions)
        await self._control.hear({name: self._words(name) for name in partitions})
        for work in works:
            for service in work.services:
                await service.start()
        log.info("worker %s works on new partitions: %s", self.name, ", ".join(partitions))

    def stop(self) -> None:
        """Stop claiming, let running jobs go on for the grace period, hand the rest back. Again: do not wait."""
        if self._told.is_set():
            self._hurry.set()
        self._told.set()
        self._stop.set()

    def hurry(self) -> None:
        """Stop, and do not wait for running jobs."""
        self.drain()
        self._hurry.set()

    def drain(self) -> None:
        """Stop claiming and let running jobs go on for the grace period; harmless when repeated."""
        if not self._told.is_set():
            self.stop()

    async def until_stopping(self) -> None:
        """Wait until it takes no more jobs."""
        await self._stop.wait()

    @property
    def leaked_threads(self) -> int:
        """Threads of sync tools that go on behind attempts that were told to end; each holds a slot."""
        return self._slots.leaked

    @property
    def tool_processes(self) -> int:
        """Processes that run CPU-bound tools for this worker, busy and idle ones."""
        return self._processes.count

    async def run(self) -> None:
        """Work until ``stop`` is called; a broker that is down is waited for.

        Raises:
            BrokerUnsuitable, BrokerDenied: if this broker will not do, or no longer does: then running jobs have ended.
        """
        if self._tally is not None:
            counting.set(self._tally.submissions)
        if not await self._wait_for_broker():
            return
        used = processes.set(self._processes)  # the tasks of all attempts inherit it
        try:
            for service in (*self._needed(), *self._upkeep()):
                await service.start()
            self.ready.set()
            log.info("worker %s is ready: %s", self.name, _summary(self.config, self.toolbox, self._keyring))
            await self._stop.wait()
        finally:
            await self._shut_down()
            processes.reset(used)
        if self._outgrown is not None:
            raise self._outgrown

    def _give_way(self, error: BrokerUnsuitable) -> None:
        if not self._stop.is_set():
            self._outgrown = error
            log.error("worker %s ends: %s", self.name, error)
            self._stop.set()

    def _replace_me(self, why: str) -> None:
        if not self._stop.is_set():
            self.recycle = why
            log.warning("worker %s ends to be replaced by a fresh one (exit code %d): %s", self.name, EXIT_RECYCLE, why)
            self._stop.set()

    @property
    def not_ready(self) -> str:
        """Why it takes no jobs just now; empty if it does. From any thread."""
        if self._stop.is_set():
            return "stopping: it takes no more jobs"
        if not self.ready.is_set():
            return "starting: it does not take jobs yet"
        silence = time.monotonic() - self._heart.answered_at
        if silence > self.config.lease:
            return f"the broker has not answered a heartbeat for {silence:.1f} s"
        return ""

    def counting_into(self, tally: Tally) -> Vitals:
        """Count into ``tally`` what it does from now on; what can be read of it besides. Before it runs."""
        self._tally = self._executor.tally = tally
        return Vitals(self._slots, self._heart, self._works, (self._control, self._surveyor), self._leases_lost)

    def _needed(self) -> list[Service]:
        """What running jobs need as long as they run."""
        return [self._heart, self._control, *(work.settler for work in self._works.values())]

    def _upkeep(self) -> list[Service]:
        """What brings jobs and keeps the queues healthy."""
        works = zip(*(work.upkeep for work in self._works.values()), strict=True)
        return [*(service for kind in works for service in kind), self._recycler, self._surveyor, self._lookout]

    async def _shut_down(self) -> None:
        """No new jobs first; then the running ones, whose leases and outcomes need the rest until the end."""
        log.info("worker %s stops: %d jobs are running", self.name, self._slots.busy)
        for _ in range(2):  # again for partitions that were just being taken up
            await asyncio.gather(*(service.stop() for service in self._upkeep()))
        await self._drain()
        await self._processes.close()
        for service in reversed(self._needed()):
            await service.stop()
        await asyncio.gather(*map(self._leave, self._partitions))
        log.info("worker %s has stopped", self.name)

    async def _leave(self, partition: str) -> None:
        try:
            await leave(self._broker, partition, self.name)
        except BrokerError as error:
            log.debug("could not leave queue %s: %s", partition, error)

    async def _drain(self) -> None:
        idle = asyncio.create_task(self._executor.wait_idle())
        if self.recycle:  # nobody is in a hurry: jobs that run have their own time limits
            told = asyncio.create_task(self._told.wait())
            await asyncio.wait((idle, told), return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((idle, hurry), timeout=self.config.grace_period, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not idle.done():
            log.info("handing %d jobs back", len(self._executor.running))
            self._executor.end_all(StopReason.RELEASE)
            await asyncio.wait((idle,), timeout=6.0)
        idle.cancel()

    async def _wait_for_broker(self) -> bool:
        """Wait until the broker answers and check that it is fit; False if the worker was stopped meanwhile."""
        failures = 0
        while not self._stop.is_set():
            try:
                await check_suitable(self._broker)
                await self._open_queues()
                return True
            except (BrokerUnavailable, BrokerFull) as error:
                failures += 1
                wait = backoff(failures)
                log.warning("waiting for the broker, trying again in %.1f s: %s", wait, error)
                try:
                    await asyncio.wait_for(self._stop.wait(), wait)
                except TimeoutError:
                    continue
        return False

    async def _open_queues(self) -> None:
        """See to it that the queues and their partitions are there, and that all of them will be worked on."""
        for queue in self.config.queues:
            await self._broker.prepare(queue)
        for share in self.config.shares:
            if share.partitions is not None and share.queue in self.config.queues:
                known = await grow(self._broker, share.queue, share.partitions)
                if known > share.partitions:
                    log.warning(
                        "queue %s has %d partitions, not %d: the largest number that was ever declared holds",
                        *(share.queue, known, share.partitions),
                    )
        new = await self._surveyor.find(thorough=True)
        for name in new:
            await self._broker.prepare(name)
        self._add(new)
        await self._control.hear({name: self._words(name) for name in self._partitions})

    def _words(self, queue: str) -> dict[str, Callable[[str], None]]:
        return {
            **self._works[queue].words,
            "cancel": lambda key: self._cancel(queue, key),
            "order": self._obey,
            GROWN: lambda _: self._surveyor.look_again(),
        }

    def _cancel(self, queue: str, key: str) -> None:
        self._executor.cancel(f"{queue}-{key}")

    def _attend(self, attempt: Attempt, reason: str) -> None:
        if not self._executor.holds(attempt):  # it has ended meanwhile
            return
        if reason == "lost":
            log.warning("job %s was taken from this worker: its lease had run out", attempt.id)
            self._leases_lost[queue_of(attempt.job.queue)] += 1
            self._executor.end(attempt, StopReason.LOST)
        else:
            self._executor.end(attempt, StopReason.CANCEL)

    def _obey(self, text: str) -> None:
        """Carry out an order that concerns this worker, or hand it to the supervisor."""
        order = read_order(text)
        if order is None or order.whom not in (self.name, self._post.supervisor):
            return
        if self._post.pass_on is not None:
            self._post.pass_on(order)
        elif order.action is Action.HURRY:
            self.hurry()
        elif order.action is Action.STOP:
            self.drain()
        else:
            log.warning("worker %s cannot %s: it has no supervisor", self.name, order.action.value)

    def _about(self) -> bytes:
        config, post = self.config, self._post
        return msgspec.msgpack.encode(
            WorkerSnapshot(
                name=self.name,
                host=HOST,
                pid=os.getpid(),
                python=PYTHON,
                version=VERSION,
                task_server=post.task_server,
                supervisor=post.supervisor,
                replica=post.replica,
                uptime=round(time.monotonic() - self._built, 3),
                valid_ms=round(config.lease * 1000),
                rss=resident_bytes(),
                metrics_port=self.metrics_port,
                concurrency=config.concurrency,
                busy=self._slots.busy,
                queues=list(config.queues),
                tools=sorted(self.toolbox.tools),
                running=told(self._executor.running),
                stopping=self._stop.is_set(),
            )
        )


def _summary(config: WorkerConfig, toolbox: Toolbox, keyring: Keyring | None) -> str:
    tools = ", ".join(sorted(toolbox.tools)) or "none"
    signed = "; only signed messages" if keyring else ""
    return f"queues {', '.join(config.queues)}; {config.concurrency} slots; tools {tools}{signed}"


__all__ = ["Worker"]
