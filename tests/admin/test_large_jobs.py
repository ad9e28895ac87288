"""Lists of jobs read what they show: of large messages, results and errors, as little as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from taskserver import Client, Inspector, State, tool
from tests.clients import broker_of
from tests.conftest import RunWorker
from tests.patience import PATIENCE

SIZE = 300_000
COUNT = 30
LITTLE = SIZE
"""Bytes that a whole list may take: no more than one of its messages."""


@tool
async def echo(blob: str) -> str:
    return blob


@tool(max_retries=0)
async def fail(blob: str) -> None:
    raise ValueError("red herring")


async def listed(inspector: Inspector, **options: Any) -> list[str]:
    return [letter.id async for letter in inspector.dead_letters(**options)]


LISTS: dict[str, Callable[[Inspector], Awaitable[Any]]] = {
    "jobs": lambda inspector: inspector.jobs(brief=True),
    "jobs by tag": lambda inspector: inspector.jobs(tag="blue", brief=True),
    "jobs by tool": lambda inspector: inspector.jobs(tool="fail", brief=True),
    "jobs by session": lambda inspector: inspector.jobs(session_id="mine", brief=True),
    "jobs by state": lambda inspector: inspector.jobs(state=State.SUCCEEDED, brief=True),
    "jobs by error": lambda inspector: inspector.jobs(error="herring", brief=True),
    "dead letters": lambda inspector: listed(inspector, brief=True),
    "dead letters by error": lambda inspector: listed(inspector, error="herring", brief=True),
    "causes": lambda inspector: inspector.causes(),
    "queues": lambda inspector: inspector.queues(),
    "workers": lambda inspector: inspector.workers(),
    "doctor": lambda inspector: inspector.examine(),
    "delete by error": lambda inspector: inspector.delete_dead_letters(error="herring"),
}


async def make_large_jobs(client: Client, run_worker: RunWorker) -> None:
    """Many of each kind: succeeded with large results, dead, and waiting."""
    options: dict[str, Any] = {"tags": ["blue"], "session_id": "mine"}
    async with run_worker(echo, fail):
        for called in (echo, fail):
            jobs = await client.submit_many([(called, {"blob": "x" * SIZE})] * COUNT, **options)
            await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs), return_exceptions=True)
    await client.submit_many([(echo, {"blob": "x" * SIZE})] * COUNT, **options)


async def test_lists_read_little(client: Client, inspector: Inspector, run_worker: RunWorker) -> None:
    await make_large_jobs(client, run_worker)
    read: dict[str, int] = {}
    server = (await broker_of(client)).client((await broker_of(client)).url)
    for name, ask in LISTS.items():
        before = (await server.info("stats"))["total_net_output_bytes"]
        await ask(inspector)
        read[name] = (await server.info("stats"))["total_net_output_bytes"] - before
    assert {name: size for name, size in read.items() if size > LITTLE} == {}
    assert await inspector.count_dead_letters() == 0  # the last of them has deleted what it found


async def test_only_the_jobs_that_are_returned_are_read_in_full(
    client: Client, inspector: Inspector, run_worker: RunWorker
) -> None:
    await make_large_jobs(client, run_worker)
    server = (await broker_of(client)).client((await broker_of(client)).url)
    before = (await server.info("stats"))["total_net_output_bytes"]
    full, brief = await inspector.jobs(limit=3), await inspector.jobs(limit=3, brief=True)
    assert (await server.info("stats"))["total_net_output_bytes"] - before < 4 * SIZE
    assert [len(job.arguments["blob"]) for job in full] == [SIZE] * 3
    assert [msgspec.structs.replace(job, arguments=None) for job in full] == brief
    letters = [letter async for letter in inspector.dead_letters()]
    assert [len(letter.arguments["blob"]) for letter in letters] == [SIZE] * COUNT
    assert {len(letter.history) for letter in letters} == {1}
    short = [letter async for letter in inspector.dead_letters(brief=True)]
    assert [msgspec.structs.replace(letter, arguments=None, history=[]) for letter in letters] == short
