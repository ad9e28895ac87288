"""What ``import taskserver`` gives is decided, not grown."""

from __future__ import annotations

import ast

import taskserver
from tests.architecture.package import modules

EXPORTS = [
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


def test_the_exports_are_these() -> None:
    assert taskserver.__all__ == EXPORTS == sorted(EXPORTS)
    for name in EXPORTS:
        assert getattr(taskserver, name) is not None


def test_everything_that_is_imported_is_exported() -> None:
    (package,) = (module for module in modules() if not module.room)
    imported = {
        alias.asname or alias.name
        for node in package.tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("taskserver.")
        for alias in node.names
    }
    assert imported == set(EXPORTS) - {"__version__"} | {"VERSION"}


def test_the_package_itself_holds_no_code() -> None:
    (package,) = (module for module in modules() if not module.room)
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    assert all(isinstance(node, allowed) for node in package.tree.body)
