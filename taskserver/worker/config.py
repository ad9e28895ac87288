"""What a worker is told."""

from __future__ import annotations

from typing import NamedTuple

from taskserver.domain.names import check_queue_name
from taskserver.errors import ConfigError
from taskserver.worker.slots import QueueShare


class WorkerConfig(NamedTuple):
    """What a worker is told.

    A supervisor sends it to its replicas, which may be of a newer version: new fields come last, with a default.

    Attributes:
        queues: Queues to work on.
        concurrency: Slots.
        lease: Seconds after which a job whose worker fell silent runs elsewhere.
        grace_period: Seconds that jobs may go on when the worker stops, before they are handed back.
        unknown_tool_wait: Seconds that a job waits for a worker that knows its tool.
        max_result_bytes: The largest result that is kept.
        signing_keys: Where the keys are with which messages must be signed; else ``TASKSERVER_SIGNING_KEYS``. Empty to
            take every message.
        max_jobs: Attempts after which the worker takes no more, lets them end, and wants to be replaced; None for
            no limit.
        max_rss_bytes: Resident memory of the worker's process beyond which it does the same; None for no limit.
        shares: Weights and limits of queues; those that are not named have the weight 1, and no limit.
        keep_messages: Keep the whole messages of jobs that succeed as long as their results, so that they can be run
            again and show their arguments. Else only what they are found by stays: tool, session, tags.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = 4
    lease: float = 15.0
    grace_period: float = 30.0
    unknown_tool_wait: float = 300.0
    max_result_bytes: int = 4 * 1024 * 1024
    signing_keys: str | None = None
    max_jobs: int | None = None
    max_rss_bytes: int | None = None
    shares: tuple[QueueShare, ...] = ()
    keep_messages: bool = False

    def check(self) -> None:
        """Whether a worker can work with it.

        Raises:
            ConfigError: if not; with what is wrong.
        """
        if not self.queues:
            raise ConfigError("a worker needs at least one queue")
        for queue in self.queues:
            check_queue_name(queue)
        if self.concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {self.concurrency}")
        for name in ("max_jobs", "max_rss_bytes"):
            most = getattr(self, name)
            if most is not None and most < 1:
                raise ConfigError(f"{name} must be at least 1, or None for no limit, not {most}")
