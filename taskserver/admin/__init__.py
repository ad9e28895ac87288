"""Administration: everything that people and dashboards ask or do, beside submitting jobs and awaiting results.

A newcomer starts at ``inspector.py``; each group of its methods has a file of its own.
"""

from taskserver.admin.commands import Waiting
from taskserver.admin.dead_letters import Cause, DeadLetterSelection, Requeued
from taskserver.admin.health import Progress
from taskserver.admin.inspector import Inspector
from taskserver.admin.sync import SyncInspector
from taskserver.admin.workers import Scaled
from taskserver.store.broker.access import ROLES, Role
from taskserver.store.broker.health import Finding
from taskserver.store.broker.schema import Schema
from taskserver.store.broker.urls import without_secrets
from taskserver.store.queries.gauges import Gauges
from taskserver.store.queries.queues import QueueInfo
from taskserver.store.queries.workers import RunningInfo, WorkerInfo

__all__ = [
    "ROLES",
    "Cause",
    "DeadLetterSelection",
    "Finding",
    "Gauges",
    "Inspector",
    "Progress",
    "QueueInfo",
    "Requeued",
    "Role",
    "RunningInfo",
    "Scaled",
    "Schema",
    "SyncInspector",
    "Waiting",
    "WorkerInfo",
    "without_secrets",
]
