"""Tests of a tool and of an agent, with pytest and pytest-asyncio:

pytest examples/tested_tools.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from taskserver import ArgumentsInvalid, Client, Context, tool, worker_lifespan
from taskserver.testing import RecordingContext, run_tool

# What is tested: a tool with a shared resource, and an agent that submits it.


@worker_lifespan
async def encyclopedia() -> AsyncIterator[dict[str, str]]:
    # opened in production only: the tests give another
    yield dict(line.split(":", 1) for line in Path("/srv/encyclopedia").read_text().splitlines())


@tool
async def look_up(words: list[str], *, ctx: Context, known: Annotated[dict[str, str], encyclopedia]) -> list[str]:
    for number, word in enumerate(words, 1):
        await ctx.progress(number / len(words), word)
    return [known[word] for word in words]


@tool(max_retries=2, retry_delay=0.01)
async def flaky(*, ctx: Context) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("the service is away")
    return ctx.attempt


async def agent() -> int:
    async with Client() as client:
        return await (await client.submit(flaky)).result(timeout=60)


# The tests.


@pytest.mark.asyncio
async def test_a_tool_without_any_broker() -> None:
    ctx = RecordingContext()
    found = await run_tool(look_up, {"words": ["ant"]}, ctx=ctx, resources={encyclopedia: {"ant": "an insect"}})
    assert found == ["an insect"]
    assert ctx.progress_reports == [(1.0, "ant")]


@pytest.mark.asyncio
async def test_its_arguments_are_checked() -> None:
    with pytest.raises(ArgumentsInvalid, match="argument 'words': expected array, got str"):
        await run_tool(look_up, {"words": "ant"}, resources={encyclopedia: {}})


@pytest.mark.asyncio
async def test_an_agent_whose_tool_is_retried(taskserver_worker: Any) -> None:
    async with taskserver_worker(flaky):
        assert await agent() == 2
