"""A worker or a client of whichever version of taskserver is first on the path; it is run as a file, by each of them.

``versions.py worker URL NAME`` runs until it is killed or stopped. ``versions.py client URL`` reads orders from
its standard input and answers on its standard output, each a line of JSON. Both first name the file of their code.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from typing import Any

import redis.asyncio

import taskserver
from taskserver import Client, Context, TaskServerError, Toolbox, Worker, WorkerConfig, tool

try:
    from taskserver.store.broker.connection import Broker
except ImportError:  # an earlier version has it elsewhere
    from taskserver.store.connection import Broker

NAME = sys.argv[-1]
URL = sys.argv[2]


@tool
async def add(a: int, b: int) -> dict[str, Any]:
    """Add, and say who did."""
    return {"sum": a + b, "by": NAME}


@tool(max_retries=9, retry_delay=0.02)
async def flaky(number: int, *, ctx: Context) -> dict[str, Any]:
    """Succeed the third time."""
    ctx.progress(0.5, f"attempt {ctx.attempt}")
    if ctx.attempt < 3:
        raise ValueError("x" * 300)
    return {"number": number, "by": NAME}


@tool
async def large(size: int) -> dict[str, Any]:
    """Answer with much."""
    return {"text": "x" * size, "by": NAME}


@tool(timeout=None)
async def hold(*, ctx: Context) -> dict[str, Any]:
    """Go on until something happens to it; the second attempt does not."""
    if ctx.attempt == 1:
        async with redis.asyncio.Redis.from_url(URL) as client:
            await client.rpush("test:ran", NAME)
        await asyncio.sleep(3600)
    return {"attempt": ctx.attempt, "by": NAME}


@tool
async def newcomer() -> str:
    """Only new workers have it."""
    return NAME


async def work() -> None:
    """Be a worker."""
    tools = [add, flaky, large, hold] + [newcomer] * (NAME == "new")
    broker = Broker(URL)
    worker = Worker(broker, Toolbox.of(*tools), WorkerConfig(concurrency=4, lease=1.5, grace_period=20))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    life = asyncio.create_task(worker.run())
    await worker.ready.wait()
    say(taskserver.__file__)
    await life
    await broker.close()


async def serve() -> None:
    """Be a client."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Client(URL) as client, asyncio.TaskGroup() as group:
        say(taskserver.__file__)
        while line := await reader.readline():
            group.create_task(answer(client, json.loads(line)))


async def answer(client: Client, order: dict[str, Any]) -> None:
    """Carry out an order."""
    match order["do"]:
        case "submit":
            calls = [tuple(call) for call in order["calls"]]
            value: Any = [job.id for job in await client.submit_many(calls, **order["options"])]
        case "results":
            value = await asyncio.gather(*(result(client, each) for each in order["ids"]))
        case "cancel":
            value = (await client.job(order["id"]).cancel()).value
    say({"order": order["number"], "value": value})


async def result(client: Client, job_id: str) -> Any:
    """A job's result, or the name of what came instead."""
    try:
        return await client.job(job_id).result(timeout=40)
    except TaskServerError as error:
        return type(error).__name__


def say(what: Any) -> None:
    """A line to whoever has started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asyncio.run(work() if sys.argv[1] == "worker" else serve())
