"""What a worker runs with."""

from __future__ import annotations

from typing import NamedTuple

from taskserver.config.worker_settings import WorkerSettings
from taskserver.domain.names import check_queue_name
from taskserver.errors import ConfigError
from taskserver.worker.slots import QueueShare

_DEFAULTS = {name: field.default for name, field in WorkerSettings.model_fields.items()}


class WorkerConfig(NamedTuple):
    """What a worker runs with. The settings are explained, and bounded for files and flags, in ``WorkerSettings``.

    A supervisor sends it to its replicas as a list, and they may be of a newer version: new fields come last, with a
    default.

    Attributes:
        queues: Queues to consume.
        concurrency: Slots.
        lease: Seconds.
        grace_period: Seconds.
        unknown_tool_wait: Seconds.
        max_message_bytes: Bytes of a result.
        signing_keys: Where to find the keys that messages must be signed with, in place of
            ``TASKSERVER_SIGNING_KEYS``; empty to accept every message.
        max_jobs: Attempts; None for no limit.
        max_rss: Bytes of resident memory; None for no limit.
        shares: Weights and limits of queues; one that is not listed has weight 1 and no limit.
        keep_messages: Keep the full messages of succeeded jobs as long as their results. Otherwise only tool, session
            and tags are kept.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = _DEFAULTS["concurrency"]
    lease: float = _DEFAULTS["lease"]
    grace_period: float = _DEFAULTS["grace_period"]
    unknown_tool_wait: float = _DEFAULTS["unknown_tool_wait"]
    max_message_bytes: int = _DEFAULTS["max_message_bytes"]
    signing_keys: str | None = None
    max_jobs: int | None = _DEFAULTS["max_jobs"]
    max_rss: int | None = _DEFAULTS["max_rss"]
    shares: tuple[QueueShare, ...] = ()
    keep_messages: bool = _DEFAULTS["keep_messages"]

    def check(self) -> None:
        """Check what a worker cannot run without.

        Raises:
            ConfigError: if a queue name is not valid, or a number is below its minimum.
        """
        if not self.queues:
            raise ConfigError("a worker needs at least one queue")
        for queue in self.queues:
            check_queue_name(queue)
        if self.concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {self.concurrency}")
        for name in ("max_jobs", "max_rss"):
            most = getattr(self, name)
            if most is not None and most < 1:
                raise ConfigError(f"{name} must be at least 1, or None for no limit, not {most}")
