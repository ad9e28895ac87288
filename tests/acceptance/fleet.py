"""Jobs and workers, as the broker knows them: asked from here, without starting a command each time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from taskserver import Client, Inspector
from taskserver.admin import WorkerInfo
from taskserver.domain.job import State
from tests.acceptance.cli import Cli, Running
from tests.patience import PATIENCE


def workers(cli: Cli) -> list[WorkerInfo]:
    """The live workers."""

    async def ask() -> list[WorkerInfo]:
        async with Inspector(cli.env["TASKSERVER_BROKER_URL"]) as inspector:
            return await inspector.workers()

    return asyncio.run(ask())


def holding(cli: Cli) -> str:
    """Submit a job that runs until ``cli.open_gate``; return its id once it runs."""

    async def submit() -> str:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            job = await client.submit("hold", {"gate": str(cli.gate)})
            async with asyncio.timeout(PATIENCE):
                async for _ in job.events():
                    break
            return job.id

    return asyncio.run(submit())


def call(cli: Cli, tool: str) -> object:
    """Call a tool, and return its result."""

    async def submit() -> object:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            return await (await client.submit(tool)).result(timeout=PATIENCE)

    return asyncio.run(submit())


def result(cli: Cli, job_id: str) -> object:
    """Wait for a job's result."""

    async def ask() -> object:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            return await client.job(job_id).result(timeout=PATIENCE)

    return asyncio.run(ask())


def state(cli: Cli, job_id: str) -> tuple[State, int]:
    """A job's state and the number of its attempts."""

    async def ask() -> tuple[State, int]:
        async with Client(cli.env["TASKSERVER_BROKER_URL"]) as client:
            found = await client.job(job_id).status()
            return found.state, found.attempt

    return asyncio.run(ask())


def until(cli: Cli, condition: Callable[[list[WorkerInfo]], bool]) -> list[WorkerInfo]:
    """Wait until the workers meet a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition(found := workers(cli)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def replicas(cli: Cli, count: int, *options: str, tools: str = "agent_tools") -> Running:
    """A supervisor whose replicas are ready; heartbeats come three times a second."""
    options = ("--lease", "1", *options)
    running = cli.start("worker", "--tools", tools, "--replicas", str(count), *options)
    running.wait_for(f"is ready: {count} replica")
    return running


def runner(cli: Cli, job_id: str) -> WorkerInfo:
    """The worker that runs a job."""
    found = until(cli, lambda there: any(job.id == job_id for each in there for job in each.running))
    return next(each for each in found if any(job.id == job_id for job in each.running))
