"""taskserver: the job queue that AI agents hand their slow and heavy work to.

Each name is imported when it is first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskserver.version import VERSION

if TYPE_CHECKING:  # what type checkers and editors see; a test compares it with the table below
    from taskserver.admin import Inspector, SyncInspector
    from taskserver.client.client import Client
    from taskserver.client.job import Job
    from taskserver.client.sync import SyncClient, SyncJob
    from taskserver.domain.events import Event, EventKind
    from taskserver.domain.job import JobStatus, State
    from taskserver.domain.messages import BaseMessage, ToolExecutionMessage
    from taskserver.domain.retry import RetryPolicy
    from taskserver.errors import (
        ArgumentsInvalid,
        BrokerError,
        BrokerUnavailable,
        ClientUnusable,
        ConfigError,
        JobCancelled,
        JobConflict,
        JobError,
        JobExpired,
        JobFailed,
        JobNotFound,
        NotReplicated,
        PermanentError,
        ResultTimeout,
        TaskServerError,
    )
    from taskserver.tools import BaseConsumer, Context, Toolbox, tool, worker_lifespan
    from taskserver.worker.config import WorkerConfig
    from taskserver.worker.worker import Worker

__version__ = VERSION

__all__ = [
    "ArgumentsInvalid",
    "BaseConsumer",
    "BaseMessage",
    "BrokerError",
    "BrokerUnavailable",
    "Client",
    "ClientUnusable",
    "ConfigError",
    "Context",
    "Event",
    "EventKind",
    "Inspector",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobStatus",
    "NotReplicated",
    "PermanentError",
    "ResultTimeout",
    "RetryPolicy",
    "State",
    "SyncClient",
    "SyncInspector",
    "SyncJob",
    "TaskServerError",
    "ToolExecutionMessage",
    "Toolbox",
    "Worker",
    "WorkerConfig",
    "__version__",
    "tool",
    "worker_lifespan",
]

_MODULES = {
    "taskserver.admin": "Inspector SyncInspector",
    "taskserver.client.client": "Client",
    "taskserver.client.job": "Job",
    "taskserver.client.sync": "SyncClient SyncJob",
    "taskserver.domain.events": "Event EventKind",
    "taskserver.domain.job": "JobStatus State",
    "taskserver.domain.messages": "BaseMessage ToolExecutionMessage",
    "taskserver.domain.retry": "RetryPolicy",
    "taskserver.errors": (
        "ArgumentsInvalid BrokerError BrokerUnavailable ClientUnusable ConfigError JobCancelled "
        "JobConflict JobError JobExpired JobFailed JobNotFound NotReplicated PermanentError "
        "ResultTimeout TaskServerError"
    ),
    "taskserver.tools": "BaseConsumer Context Toolbox tool worker_lifespan",
    "taskserver.worker.config": "WorkerConfig",
    "taskserver.worker.worker": "Worker",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker would believe that every name exists

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_MODULE_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
