"""Class tools that note where they are made, used and closed; wrapped tools; and tools that set context variables."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from taskserver import tool, worker_lifespan

DIARY = "TEST_DIARY"
"""Environment variable with the file in which the classes note what happens to them."""


def where() -> str:
    """What a call sees of its thread: the event loop in it, or which thread it is."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "main" if threading.current_thread() is threading.main_thread() else "thread"
    return "loop"


def note(what: str) -> None:
    with Path(os.environ[DIARY]).open("a") as diary:
        diary.write(f"{what} {where()}\n")


class Noting:
    def __init__(self) -> None:
        note("made")


class Closing(Noting):
    def close(self) -> None:
        note("closed")


class AsyncClosing(Noting):
    async def aclose(self) -> None:
        await asyncio.sleep(0)
        note("closed")

    def close(self, force: bool) -> None:
        raise AssertionError("this is part of the tool's own work")


class Managing(Noting):
    def __enter__(self) -> None:
        note("entered")

    def __exit__(self, *_: object) -> None:
        note("closed")


class AsyncManaging(Noting):
    async def __aenter__(self) -> None:
        self.task = asyncio.current_task()
        self.loop = asyncio.get_running_loop()
        note("entered")

    async def __aexit__(self, *_: object) -> None:
        assert asyncio.current_task() is self.task  # as anyio's task groups insist
        assert asyncio.get_running_loop() is self.loop
        note("closed")


def sync_run(base: type) -> type:
    class SyncTool(base):  # type: ignore[misc]
        def run(self) -> str:
            note("ran")
            return "ran"

    return SyncTool


def async_run(base: type) -> type:
    class AsyncTool(base):  # type: ignore[misc]
        async def run(self) -> str:
            note("ran")
            return "ran"

    return AsyncTool


BASES = (Noting, Closing, AsyncClosing, Managing, AsyncManaging)
TOOLS: dict[str, type] = {}
"""Each kind of class, with a sync and an async ``run``, in this process and in one of its own."""
for base in BASES:
    for make in (sync_run, async_run):
        for runs_in in (None, "process"):
            name = f"{base.__name__}_{make.__name__}_{runs_in or 'here'}"
            cls = make(base)
            cls.__name__ = cls.__qualname__ = name
            TOOLS[name] = globals()[name] = tool(runs_in=runs_in, max_retries=0)(cls)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **values: Any) -> Any:
        return function(*args, **values)

    return inner


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self.value


@traced
async def wrapped(x: str) -> str:
    await asyncio.sleep(0)
    return x


def bare(x: str) -> Any:
    return wrapped(x)


async def forgetful(x: str) -> Any:
    return wrapped(x)


def later(x: str) -> Awaitable[str]:
    return Later(x)


class Wrapped:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    @traced
    async def run(self, x: str) -> str:
        assert asyncio.get_running_loop() is self.loop
        return x


user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


def greet(x: str) -> str:
    before = user.get()
    user.set(x)
    return before


async def greet_async(x: str) -> str:
    return greet(x)


def in_process(target: Any) -> Any:
    """The same, as a tool that runs in a process."""
    if isinstance(target, type):
        copy: Any = type(f"{target.__name__}_process", (target,), {})
    else:
        copy = functools.wraps(target)(lambda *args, **values: target(*args, **values))
        copy.__name__ = f"{target.__name__}_process"
    copy.__qualname__ = copy.__name__
    globals()[copy.__name__] = tool(runs_in="process", max_retries=0)(copy)
    return copy


AWAITED: list[Any] = [wrapped, bare, forgetful, later, Wrapped]
GREETING: list[Any] = [greet, greet_async]
for group in (AWAITED, GREETING):
    group += [in_process(target) for target in group]
    for target in group:
        if not hasattr(target, "__tool__"):
            tool(max_retries=0)(target)


@worker_lifespan
async def first() -> AsyncIterator[str]:
    """A resource that another one needs."""
    note("first opened")
    yield "first"
    note("first closed")


First = Annotated[str, first]


@worker_lifespan
async def second(base: First) -> AsyncIterator[list[str]]:
    task = asyncio.current_task()
    note("second opened")
    yield [base, "second"]
    assert asyncio.current_task() is task
    note("second closed")


Second = Annotated[list[str], second]


def sync_user(x: int, one: First, two: Second) -> list[str]:
    note("ran")
    return [one, *two]


async def async_user(x: int, one: First, two: Second) -> list[str]:
    return sync_user(x, one, two)


class ClassUser:
    def run(self, x: int, one: First, two: Second) -> list[str]:
        return sync_user(x, one, two)


USERS: list[Any] = []
"""Tools that take resources, in each way in which a tool can run."""
for user_of in (sync_user, async_user, ClassUser):
    process = in_process(user_of)
    USERS += [tool(max_retries=0)(user_of), process]


@worker_lifespan
async def broken() -> AsyncIterator[str]:
    raise OSError("no network")
    yield "never"


@tool(runs_in="process", max_retries=0)
async def needs_broken_too(resource: Annotated[str, broken]) -> str:
    return resource


@tool(runs_in="process", max_retries=0)
def needs_broken(resource: Annotated[str, broken]) -> str:
    return resource
