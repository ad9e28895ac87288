"""taskserver: the job queue that AI agents hand their slow and heavy work to."""

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
from taskserver.version import VERSION
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
