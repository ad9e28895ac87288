"""Calls one tool as a worker does, without a job and without a broker."""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar, overload

import msgspec

from taskserver.client.client import Arguments, AsyncToolClass, SyncToolClass
from taskserver.errors import ToolInvalid
from taskserver.testing.context import RecordingContext
from taskserver.tools import Context, Lifespan, Tool, check, decode, encode, tool_of
from taskserver.tools.call import Call
from taskserver.tools.codec import encode_message
from taskserver.tools.lifespan import Resources
from taskserver.tools.targets import is_async

T = TypeVar("T")
Given = Mapping[Lifespan[..., Any], Any]


@overload
async def run_tool(
    tool: type[AsyncToolClass[T]],
    args: Arguments | None = None,
    *,
    ctx: Context | None = None,
    resources: Given | None = None,
) -> T: ...
@overload
async def run_tool(
    tool: type[SyncToolClass[T]],
    args: Arguments | None = None,
    *,
    ctx: Context | None = None,
    resources: Given | None = None,
) -> T: ...
@overload
async def run_tool(
    tool: Callable[..., Coroutine[Any, Any, T]],
    args: Arguments | None = None,
    *,
    ctx: Context | None = None,
    resources: Given | None = None,
) -> T: ...
@overload
async def run_tool(
    tool: Callable[..., T],
    args: Arguments | None = None,
    *,
    ctx: Context | None = None,
    resources: Given | None = None,
) -> T: ...
async def run_tool(
    tool: Any, args: Arguments | None = None, *, ctx: Context | None = None, resources: Given | None = None
) -> Any:
    """Call a tool once, as a worker does: its arguments are checked, and its result is encoded and decoded.

    There is no job and no broker, no timeout and no retry. A sync tool runs in a thread, and so does one with
    ``runs_in="process"``; breakpoints and patches work.

    Args:
        tool: A decorated tool: a function or a class.
        args: Its arguments by name.
        ctx: What its context parameter receives; by default a new ``RecordingContext``.
        resources: What its parameters for resources receive, by the ``@worker_lifespan`` function that they name.
            Resources that are not listed are opened for this call.

    Returns:
        What ``await job.result()`` would return.

    Raises:
        ToolInvalid: if it is not a tool, or it or a resource could not be opened.
        ArgumentsInvalid: if the arguments do not match the tool's signature; the tool was not called.
        ResultInvalid: if the result could not be stored.
        Exception: whatever the tool raises, as it was raised.
    """
    declared = tool_of(tool)
    if declared is None:
        raise ToolInvalid(f"{getattr(tool, '__name__', tool)!r} is not a tool: decorate it with @tool")
    check(declared, args or {})
    received = msgspec.msgpack.decode(encode_message(args or {})[0])
    call = Call(_in_this_process(declared))
    async with AsyncExitStack() as stack:
        await call.open(Resources(stack, resources))
        result = await call.run(received, RecordingContext() if ctx is None else ctx)
    return decode(encode(result), declared.returns)


def _in_this_process(tool: Tool) -> Tool:
    """The tool, running in a thread or on the event loop if it is one for processes."""
    if tool.runs_in != "process":
        return tool
    here = copy.copy(tool)
    here.runs_in = "async" if is_async(tool.target) else "thread"
    return here
