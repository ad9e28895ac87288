"""What a worker has for one partition of a queue: five services that know each other and no other partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskserver.domain.retry import RetryPolicy
from taskserver.domain.settlement import DeferLimits
from taskserver.store.broker.connection import Broker
from taskserver.tools import Toolbox
from taskserver.worker.executor import Executor
from taskserver.worker.fair_slots import PartitionSlots
from taskserver.worker.fetcher import Fetcher
from taskserver.worker.maintenance.janitor import Janitor
from taskserver.worker.maintenance.reclaimer import Reclaimer
from taskserver.worker.maintenance.scheduler import Scheduler
from taskserver.worker.service import LoopService
from taskserver.worker.settler import Settler
from taskserver.worker.slots import Slots


class PartitionSettings(NamedTuple):
    """What holds for all partitions that a worker works on.

    Attributes:
        broker: Where.
        worker: Its name.
        patience: With jobs that nobody can run.
        lease: Seconds after which a silent worker's jobs are taken back.
        attempts_cap: Attempts at most for a job whose submitter did not say.
    """

    broker: Broker
    worker: str
    patience: DeferLimits
    lease: float
    attempts_cap: int


class Partition:
    """The services of one partition.

    Args:
        partition: Its name; the queue's own, if it has only one.
        terms: What holds for all of them.
        slots: Where its jobs get their slots.
        executor: Runs them.

    Attributes:
        settler: Brings reports and outcomes to the broker.
        scheduler: Puts delayed jobs back on time.
        sweeper: Takes back the jobs of workers that fell silent.
        janitor: Finds jobs that nothing would wake any more.
        fetcher: Claims jobs for free slots.
    """

    def __init__(
        self, partition: str, terms: PartitionSettings, slots: Slots | PartitionSlots, executor: Executor
    ) -> None:
        broker, worker = terms.broker, terms.worker
        self.settler = Settler(broker, partition, terms.patience, worker)
        self.scheduler = Scheduler(broker, partition)
        self.sweeper = Reclaimer(broker, partition, worker, terms.lease)
        self.janitor = Janitor(broker, partition, worker)
        self.fetcher = Fetcher(
            broker,
            partition,
            worker,
            slots=slots,
            executor=executor,
            settler=self.settler,
            janitor=self.janitor,
            attempts_cap=terms.attempts_cap,
        )

    @property
    def upkeep(self) -> tuple[LoopService, ...]:
        """What brings jobs and keeps the partition healthy; the settler is needed longer, until the last job ended."""
        return self.scheduler, self.sweeper, self.janitor, self.fetcher

    @property
    def services(self) -> tuple[LoopService, ...]:
        """All of them, in the order in which they start."""
        return (self.settler, *self.upkeep)

    @property
    def words(self) -> dict[str, Callable[[str], None]]:
        """What to do for the words on the partition's control channel, as far as it is the partition's matter."""
        return {"due": lambda _: self.scheduler.look_again(), "resume": lambda _: self.fetcher.go_on()}


def attempts_cap(toolbox: Toolbox) -> int:
    """Attempts at most for a job whose submitter did not say; its tool's own limit may be stricter."""
    policies: Sequence[RetryPolicy] = [
        RetryPolicy(),
        *(tool.retry for tool in toolbox.tools.values()),
        *(consumer.retry for consumer in toolbox.consumers.values()),
    ]
    return max(policy.max_attempts for policy in policies)
