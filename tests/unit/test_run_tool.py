"""``run_tool`` calls a tool as a worker does: the same arguments, the same results, the same errors, and no broker."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import SecretStr

from taskserver import ArgumentsInvalid, Context, PermanentError, tool, worker_lifespan
from taskserver.errors import ResultInvalid, ToolInvalid
from taskserver.testing import RecordingContext, run_tool

opened: list[str] = []


@dataclass
class Page:
    words: tuple[str, ...]


@worker_lifespan
async def settings() -> AsyncIterator[dict[str, str]]:
    opened.append("settings")
    yield {"name": "Ada"}
    opened.append("settings closed")


@worker_lifespan
async def database(known: Annotated[dict[str, str], settings]) -> AsyncIterator[list[str]]:
    opened.append("database")
    yield [known["name"]]
    opened.append("database closed")


@tool
async def split(text: str, *, ctx: Context) -> Page:
    await ctx.progress(0.5, "half")
    await ctx.emit("some ")
    await ctx.emit("text")
    ctx.logger.warning("split at attempt %d", ctx.attempt)
    return Page(tuple(text.split()))


@tool
def in_a_thread(number: int, *, ctx: Context) -> list[Any]:
    ctx.progress(1)
    return [number, threading.current_thread() is threading.main_thread(), ctx.attempt, ctx.idempotency_key]


@tool(runs_in="process")
def in_a_process(number: int) -> int:
    async def double() -> int:
        return 2 * number

    return asyncio.run(double())


@tool
class Greeter:
    """Greets."""

    def __init__(self) -> None:
        self.greeting = ""

    async def __aenter__(self) -> Greeter:
        self.greeting = "hello"
        return self

    async def __aexit__(self, *_: object) -> None:
        opened.append("greeter closed")

    async def run(self, name: str) -> str:
        return f"{self.greeting} {name}"


@tool
async def first(db: Annotated[list[str], database]) -> str:
    return db[0]


@tool
async def reveal(code: SecretStr) -> str:
    return code.get_secret_value()


@tool
async def wrong() -> Any:
    return object()


@tool
async def fails(kind: str) -> None:
    raise PermanentError(kind) if kind == "permanent" else KeyError(kind)


@tool
def until_cancelled(*, ctx: Context) -> str:
    while not ctx.cancelled:
        pass
    return "stopped"


async def test_what_a_tool_reports_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    ctx = RecordingContext(attempt=2, session_id="s", tags=("a",))
    with caplog.at_level(logging.WARNING, "taskserver.tool"):
        page = await run_tool(split, {"text": "two words"}, ctx=ctx)
    assert page == Page(("two", "words"))
    assert (ctx.progress_reports, ctx.output) == ([(0.5, "half")], ["some ", "text"])
    assert (ctx.attempt, ctx.max_attempts, ctx.session_id, ctx.tags) == (2, 2, "s", ("a",))
    assert ctx.idempotency_key == ctx.job_id
    assert ctx.job_id.startswith("default-")


async def test_a_tool_may_also_be_called_as_the_function_that_it_is() -> None:
    ctx = RecordingContext()
    assert await split("one", ctx=ctx) == Page(("one",))
    assert ctx.output == ["some ", "text"]


@pytest.mark.parametrize(
    ("target", "args", "result"),
    [
        (in_a_thread, {"number": 1}, [1, False, 3, "k"]),
        (in_a_process, {"number": 2}, 4),
        (Greeter, {"name": "Ada"}, "hello Ada"),
        (reveal, {"code": SecretStr("314")}, "314"),
        (reveal, {"code": "314"}, "314"),
    ],
)
async def test_each_kind_of_tool_runs(target: Any, args: dict[str, Any], result: object) -> None:
    assert await run_tool(target, args, ctx=RecordingContext(attempt=3, idempotency_key="k")) == result


async def test_resources_are_opened_for_the_call_or_given() -> None:
    opened.clear()
    assert await run_tool(first) == "Ada"
    assert opened == ["settings", "database", "database closed", "settings closed"]
    opened.clear()
    assert await run_tool(first, resources={settings: {"name": "Grace"}}) == "Grace"
    assert opened == ["database", "database closed"]
    opened.clear()
    assert await run_tool(first, resources={database: ["fake"]}) == "fake"
    assert opened == []


async def test_an_instance_of_a_class_is_closed_after_the_call() -> None:
    opened.clear()
    await run_tool(Greeter, {"name": "Ada"})
    assert opened == ["greeter closed"]


@pytest.mark.parametrize(
    ("target", "args", "error", "message"),
    [
        (split, {"txt": "a"}, ArgumentsInvalid, "missing argument 'text'"),
        (in_a_thread, {"number": "1"}, ArgumentsInvalid, "expected int, got str"),
        (fails, {"kind": "permanent"}, PermanentError, "permanent"),
        (fails, {"kind": "other"}, KeyError, "other"),
        (wrong, None, ResultInvalid, "object"),
        (print, None, ToolInvalid, "'print' is not a tool: decorate it with @tool"),
    ],
)
async def test_errors_are_those_of_the_tool_or_of_the_worker(
    target: Any, args: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await run_tool(target, args)


async def test_a_test_can_cancel_a_tool_in_a_thread() -> None:
    ctx = RecordingContext()
    call = asyncio.create_task(run_tool(until_cancelled, ctx=ctx))
    await asyncio.sleep(0)
    ctx.cancelled = True
    assert await call == "stopped"
