"""Jobs of a worker that stopped renewing are taken back, however many they are."""

import asyncio

from taskserver import Client
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin
from taskserver.store.jobs.claim import claim
from taskserver.store.jobs.lease import announce
from taskserver.store.queries.queues import info
from taskserver.worker.maintenance.reclaimer import Reclaimer


async def test_everything_that_was_lost_is_taken_back_without_a_rest(client: Client, broker: Broker) -> None:
    """Those that were asked to end do not come back, and those of a live worker stay where they are."""
    await client.submit_many(("anything", {}) for _ in range(1350))
    await asyncio.to_thread(announce, broker, "alive", ["default"], b"snapshot", 60_000)
    assert len((await claim(broker, "default", "alive", (0, 1000, 0), 5)).jobs) == 1000
    lost = (await claim(broker, "default", "dead", (0, 350, 0), 5)).jobs
    await admin.cancel(broker, "default", [job.key for job in lost[:150]])
    reclaimer = Reclaimer(broker, "default", "w1", lease=60)
    rested = False

    async def rest(_: float, until: object) -> None:
        nonlocal rested
        rested = True

    reclaimer.rest = rest  # type: ignore[method-assign, assignment]
    while not rested:
        await reclaimer.turn()
    found = await info(broker, "default")
    assert (found.running, found.ready["returned"]) == (1000, 200)
