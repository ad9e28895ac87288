"""Every setting of a worker, declared once: name, type, bounds, default and help.

Everything else is made from this class: the environment variables (``Settings`` inherits it), the keys of a task server
in the configuration file with their JSON Schema (``TaskServer`` inherits it), the options of ``taskserver worker``, and
the tables in the docs. A setting has the same name in all of them. To add one, add a field here, a field of the same
name to ``WorkerConfig`` (or to ``Assignment``, if it concerns the process), and the code that uses it;
``tests/unit/test_worker_settings.py`` compares them.

Queues, tools and signing keys are not here: they are lists in the file, and single strings in the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from taskserver.config.values import BYTES, FLAG, SECONDS, WHOLE, Slots
from taskserver.domain.messages import MAX_BYTES

LEAST_RSS = 64 * 10**6
"""Bytes; an idle worker takes nearly as much."""


@dataclass(frozen=True)
class Option:
    """How the option of ``taskserver worker`` differs from a plain ``--name``.

    Attributes:
        short: A short flag, besides.
        flags: Flags in place of ``--name``.
        metavar: What the help calls the value.
        offered: False if there is no option.
    """

    short: str = ""
    flags: str = ""
    metavar: str = ""
    offered: bool = True


class WorkerSettings(BaseModel):
    """The settings of a worker; help texts are the docstrings of the fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    concurrency: Annotated[Slots, Option("-c")] = 4
    """Slots of each worker: jobs that run at once."""
    lease: Annotated[float, Field(ge=0.3, le=3600), SECONDS] = 15.0
    """Seconds without a heartbeat after which a worker's jobs run elsewhere."""
    grace_period: Annotated[float, Field(ge=0, le=86_400), SECONDS] = 30.0
    """Seconds that a stopping worker gives its running jobs before it hands them back."""
    unknown_tool_wait: Annotated[float, Field(ge=0), SECONDS] = 300.0
    """Seconds that a job waits for a worker that has its tool; then it becomes a dead letter."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=MAX_BYTES), BYTES, Option(offered=False)] = MAX_BYTES
    """Largest message that can be submitted, and largest result that is kept, in bytes."""
    max_jobs: Annotated[int | None, Field(ge=1), WHOLE] = None
    """Attempts after which a worker finishes its running jobs and is replaced by a fresh one."""
    max_rss: Annotated[int | None, Field(ge=LEAST_RSS), BYTES] = None
    """Memory of a worker's process, such as 2GB, above which it finishes its running jobs and is replaced."""
    keep_messages: Annotated[bool, FLAG, Option(flags="--keep-messages/--drop-messages")] = False
    """Keep the full messages of succeeded jobs, to show their arguments and to run them again."""
    loglevel: Annotated[Literal["debug", "info", "warning", "error"], Option("-l")] = "info"
    """Lowest level that is logged."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log: text for people, json for machines."""
    loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    """Event loop; auto is uvloop where it is installed. Libraries that patch the event loop need asyncio."""
    metrics_port: Annotated[int | None, Field(ge=0, le=65_535), WHOLE, Option(metavar="PORT")] = None
    """Port that serves metrics and health; 0 picks a free one, which is logged. By default they are not served."""
    metrics_host: Annotated[str, Field(min_length=1), Option(metavar="HOST")] = "127.0.0.1"
    """Address that serves metrics and health."""
    metrics_targets: Annotated[str, Field(min_length=1), Option(metavar="FILE")] = ""
    """File that lists the metrics ports of all replicas for Prometheus."""
