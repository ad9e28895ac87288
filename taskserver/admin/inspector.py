"""The inspector: everything that people and dashboards ask of a task server, or do to it."""

from __future__ import annotations

from taskserver.admin.dead_letters import DeadLetterInspector
from taskserver.admin.health import HealthInspector
from taskserver.admin.queues import QueueInspector
from taskserver.admin.workers import WorkerInspector


class Inspector(QueueInspector, DeadLetterInspector, WorkerInspector, HealthInspector):
    """Looks at queues, jobs, dead letters and workers, and acts on them; the commands do all they do through it.

    ::

        async with Inspector() as inspector:
            for queue in await inspector.queues():
                print(queue.name, queue.running, queue.dead)
            await inspector.pause("mail")

    It connects on first use, and belongs to the event loop that it is used in. Every method raises ``BrokerError``
    if the broker does not answer or refuses; what else it raises stands beside it.

    Args:
        url: The broker; else ``TASKSERVER_BROKER_URL``; else an embedded broker is found or started.
        signing_keys: Where the keys are that sign messages of jobs that run again; else ``TASKSERVER_SIGNING_KEYS``.

    Raises:
        ConfigError: if a key is not valid.
    """
