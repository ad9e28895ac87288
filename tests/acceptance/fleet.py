"""What the broker knows of the workers, asked without starting a command for each look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from taskserver.store.connection import Broker
from taskserver.store.workers import WorkerInfo, list_workers
from tests.acceptance.cli import PATIENCE, Cli, Running


def workers(cli: Cli) -> list[WorkerInfo]:
    """The live workers."""

    async def look() -> list[WorkerInfo]:
        broker = Broker(cli.env["TASKSERVER_BROKER_URL"])
        try:
            return await list_workers(broker)
        finally:
            await broker.close()

    return asyncio.run(look())


def until(cli: Cli, condition: Callable[[list[WorkerInfo]], bool]) -> list[WorkerInfo]:
    """Look until the workers are as they shall be."""
    deadline = time.monotonic() + PATIENCE
    while not condition(found := workers(cli)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Ask again until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def replicas(cli: Cli, count: int, *options: str, tools: str = "agent_tools") -> Running:
    """A supervisor whose replicas are ready; heartbeats come three times a second."""
    options = ("--lease", "1", *options)
    running = cli.start("worker", "--tools", tools, "--replicas", str(count), *options)
    running.wait_for("supervisor")
    running.wait_for(f"is ready: {count} replicas")
    return running


def runner(cli: Cli, job_id: str) -> WorkerInfo:
    """The worker that runs a job."""
    found = until(cli, lambda there: any(job.id == job_id for each in there for job in each.running))
    return next(each for each in found if any(job.id == job_id for job in each.running))
