"""Jobs of a worker that stopped renewing are taken back, however many they are."""

import asyncio

from taskserver import Client
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.claim import claim
from taskserver.store.queries.queues import info
from taskserver.worker.maintenance.reclaimer import Reclaimer


async def test_everything_that_was_lost_is_taken_back_without_a_rest(client: Client, broker: Broker) -> None:
    await client.submit_many(("anything", {}) for _ in range(350))
    assert len((await claim(broker, "default", "dead", (0, 350, 0), 5)).jobs) == 350
    await asyncio.sleep(0.6)  # longer than the lease below
    reclaimer = Reclaimer(broker, "default", "w1", lease=0.5)
    rested = False

    async def rest(_: float) -> None:
        nonlocal rested
        rested = True

    reclaimer.rest = rest  # type: ignore[method-assign]
    while not rested:
        await reclaimer.turn()
    found = await info(broker, "default")
    assert (found.running, found.ready["returned"]) == (0, 350)
