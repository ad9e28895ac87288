"""What the broker knows of the workers, asked without starting a command for each look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from taskserver import Client
from taskserver.domain.job import State
from taskserver.store.queries.workers import WorkerInfo, list_workers
from tests.acceptance.cli import Cli, Running
from tests.patience import PATIENCE


def workers(cli: Cli) -> list[WorkerInfo]:
    """The live workers."""

    async def look() -> list[WorkerInfo]:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            return await list_workers(await client.connect())

    return asyncio.run(look())


def holding(cli: Cli) -> str:
    """A job that goes on until ``cli.open_gate``, once it runs."""

    async def submit() -> str:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            job = await client.submit("hold", {"gate": str(cli.gate)})
            async with asyncio.timeout(PATIENCE):
                async for _ in job.events():
                    break
            return job.id

    return asyncio.run(submit())


def call(cli: Cli, tool: str) -> object:
    """A tool's result."""

    async def submit() -> object:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            return await (await client.submit(tool)).result(timeout=PATIENCE)

    return asyncio.run(submit())


def result(cli: Cli, job_id: str) -> object:
    """A job's result, waited for."""

    async def ask() -> object:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            return await client.job(job_id).result(timeout=PATIENCE)

    return asyncio.run(ask())


def state(cli: Cli, job_id: str) -> tuple[State, int]:
    """A job's state and how many attempts it took."""

    async def ask() -> tuple[State, int]:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            found = await client.job(job_id).status()
            return found.state, found.attempt

    return asyncio.run(ask())


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
    running.wait_for(f"is ready: {count} replicas")
    return running


def runner(cli: Cli, job_id: str) -> WorkerInfo:
    """The worker that runs a job."""
    found = until(cli, lambda there: any(job.id == job_id for each in there for job in each.running))
    return next(each for each in found if any(job.id == job_id for job in each.running))
