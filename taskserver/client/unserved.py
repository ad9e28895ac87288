"""Says why an awaited job does not start: no worker serves its queue, or the queue is paused."""

from __future__ import annotations

import logging

from taskserver.domain.ids import JobRef
from taskserver.domain.partitions import queue_of
from taskserver.errors import BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues

log = logging.getLogger("taskserver.client")


async def explain(broker: Broker, job: JobRef) -> None:
    """Log a warning, which goes to stderr in a program that does not configure logging, if nobody can start the job."""
    try:
        found = await queues.info(broker, job.queue)
    except Exception as error:  # a producer may not look for workers; and advice must not disturb anybody
        log.debug("could not look for workers: %s", error, exc_info=not isinstance(error, BrokerError))
        return
    queue = queue_of(job.queue)
    if found.paused:
        log.warning("job %s waits: %s", job.id, f"queue {queue} is paused; resume it: taskserver queue resume {queue}")
    elif not found.workers:
        start = f"taskserver worker --queue {queue} --tools MODULE"
        log.warning("job %s waits: %s", job.id, f"no worker serves queue {queue}; start one: {start}")
