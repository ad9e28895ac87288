"""The inspector: administration for people and dashboards."""

from __future__ import annotations

from taskserver.admin.dead_letters import DeadLetterInspector
from taskserver.admin.health import HealthInspector
from taskserver.admin.queues import QueueInspector
from taskserver.admin.workers import WorkerInspector


class Inspector(QueueInspector, DeadLetterInspector, WorkerInspector, HealthInspector):
    """Shows queues, jobs, dead letters and workers, and acts on them. The commands use it for all they do.

    ::

        async with Inspector() as inspector:
            for queue in await inspector.queues():
                print(queue.name, queue.running, queue.dead)
            await inspector.pause("mail")

    It connects on first use, and belongs to the event loop and the process in which that happens. Every method raises
    ``BrokerError`` if the broker does not answer or refuses, and ``ClientUnusable`` after ``close`` or in another event
    loop or process; its docstring lists what else it raises.

    Args:
        url: The broker; else ``TASKSERVER_BROKER_URL``; else an embedded broker is found or started.
        signing_keys: Where the keys are that sign the messages of requeued jobs; else ``TASKSERVER_SIGNING_KEYS``.

    Raises:
        ConfigError: if a key is not valid.
    """
