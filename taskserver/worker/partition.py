"""What a worker has for one partition of a queue: five services that know each other and no other partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskserver.domain.retry import RetryPolicy
from taskserver.domain.settlement import DeferLimits
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.control import LISTENING, RESUME
from taskserver.tools import Toolbox
from taskserver.worker.executor import Executor
from taskserver.worker.fetcher import Fetcher
from taskserver.worker.maintenance.janitor import Janitor
from taskserver.worker.maintenance.reclaimer import Reclaimer
from taskserver.worker.maintenance.scheduler import Scheduler
from taskserver.worker.pace import Pace
from taskserver.worker.service import LoopService
from taskserver.worker.settler import Settler
from taskserver.worker.slots import PartitionSlots


class PartitionSettings(NamedTuple):
    """What all partitions that a worker works on have in common.

    Attributes:
        broker: Where.
        worker: The worker's name.
        defer_limits: How long jobs are kept that no worker can run.
        lease: Seconds after which the jobs of a silent worker are taken back.
        attempts_cap: Maximum attempts of a job whose submitter did not set any.
        pace: How often the background services look.
    """

    broker: Broker
    worker: str
    defer_limits: DeferLimits
    lease: float
    attempts_cap: int
    pace: Pace


class Partition:
    """The services of one partition.

    Args:
        name: Its name; the queue's own, if it has only one.
        settings: What all partitions have in common.
        slots: Where its jobs get their slots.
        executor: Runs them.

    Attributes:
        name: As given.
        settler: Brings reports and outcomes to the broker.
        scheduler: Puts delayed jobs back on time.
        reclaimer: Takes back the jobs of workers that stopped renewing.
        janitor: Finds jobs that nothing would wake any more.
        fetcher: Claims jobs for free slots.
        leases_lost: Running jobs whose lease went to another worker.
    """

    def __init__(self, name: str, settings: PartitionSettings, slots: PartitionSlots, executor: Executor) -> None:
        broker, worker = settings.broker, settings.worker
        self.name = name
        self.leases_lost = 0
        self._executor = executor
        self.settler = Settler(broker, name, settings.defer_limits, worker)
        self.scheduler = Scheduler(broker, name, settings.pace)
        self.reclaimer = Reclaimer(broker, name, worker, settings.lease)
        self.janitor = Janitor(broker, name, worker, settings.pace)
        self.fetcher = Fetcher(
            broker,
            name,
            worker,
            slots=slots,
            executor=executor,
            settler=self.settler,
            janitor=self.janitor,
            attempts_cap=settings.attempts_cap,
            pace=settings.pace,
        )

    @property
    def upkeep(self) -> tuple[LoopService, ...]:
        """What brings jobs and keeps the partition healthy; the settler is needed longer, until the last job ended."""
        return self.scheduler, self.reclaimer, self.janitor, self.fetcher

    @property
    def services(self) -> tuple[LoopService, ...]:
        """All of them, in the order in which they start."""
        return (self.settler, *self.upkeep)

    @property
    def handlers(self) -> dict[str, Callable[[str], None]]:
        """What to do about the messages on the partition's control channel that concern it alone."""
        return {
            "cancel": lambda key: self._executor.cancel(f"{self.name}-{key}"),
            "due": lambda _: self.scheduler.look_again(),
            "reclaim": lambda _: self.reclaimer.look_again(),
            RESUME: lambda _: self.fetcher.resume(),
            LISTENING: lambda _: self._look_again(),
        }

    def _look_again(self) -> None:
        """Messages may have been lost before this one."""
        self.scheduler.look_again()
        self.fetcher.resume()


def attempts_cap(toolbox: Toolbox) -> int:
    """Maximum attempts of a job whose submitter did not set any; its tool's own limit may be lower."""
    policies: Sequence[RetryPolicy] = [
        RetryPolicy(),
        *(tool.retry for tool in toolbox.tools.values()),
        *(consumer.retry for consumer in toolbox.consumers.values()),
    ]
    return 1 + max(policy.max_retries for policy in policies)
