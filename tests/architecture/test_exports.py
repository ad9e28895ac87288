"""What ``import taskserver`` gives is decided, not grown."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import taskserver
from tests.architecture.package import ROOT, modules

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


def test_type_checkers_and_programs_find_each_name_in_the_same_module() -> None:
    (package,) = (module for module in modules() if not module.room)
    block, _ = (node for node in package.tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: f"{node.module}" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    assert seen == taskserver._MODULE_OF
    assert seen.keys() | {"__version__"} == set(EXPORTS)


def test_the_package_lists_its_names_and_refuses_others() -> None:
    assert set(EXPORTS) < set(dir(taskserver))
    with pytest.raises(AttributeError, match=r"module 'taskserver' has no attribute 'Clint'"):
        getattr(taskserver, "Clint")  # noqa: B009


def test_a_worker_loads_at_its_start_what_its_tools_may_import_late() -> None:
    """By then, the code on disk may be of another version."""
    start = """
import sys
from taskserver.fleet.runtime import prepare
from taskserver.fleet.assignment import Assignment
from taskserver.worker.config import WorkerConfig
prepare(Assignment(modules=("examples.first_program",), worker=WorkerConfig()))
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", start], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert set(taskserver._MODULE_OF.values()) - set(done.stdout.split()) == set()
