"""Round trips are what costs: a batch is one script call, on submit, claim and finish."""

import asyncio

from taskserver import Client, tool
from taskserver.store.broker.connection import Broker
from tests.patience import PATIENCE
from tests.worker.conftest import Hire

JOBS = 200


async def _calls(broker: Broker) -> int:
    """Script calls since the last time."""
    statistics = await broker.client(broker.url).info("commandstats")
    await broker.client(broker.url).config_resetstat()
    return sum(statistics.get(name, {"calls": 0})["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval"))


async def test_many_jobs_cost_few_script_calls(client: Client, broker: Broker, hire: Hire) -> None:
    everybody, gate = asyncio.Barrier(JOBS // 2 + 1), asyncio.Event()

    @tool
    async def wait() -> None:
        if not gate.is_set():
            await everybody.wait()
            await gate.wait()

    await client.submit(wait, queue="other")  # the scripts' text is there from now on
    await _calls(broker)
    jobs = await asyncio.gather(*(client.submit(wait) for _ in range(JOBS)))
    assert await _calls(broker) <= 3
    await hire(wait, concurrency=JOBS // 2, lease=60)
    await everybody.wait()
    assert await _calls(broker) <= 15  # one claim; and what a worker does at its start, and once a second
    gate.set()
    await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
    assert await _calls(broker) <= 60
