"""A tool that can be called in this process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from taskserver.tools.arguments import check
from taskserver.tools.context import Context
from taskserver.tools.targets import instance_of
from taskserver.tools.threads import run_in_thread
from taskserver.tools.tool import Tool


class Call:
    """Calls one tool in this process. If the tool is a class, it is instantiated once, here.

    Raises:
        ToolInvalid: if an annotation cannot be resolved, or the class could not be instantiated.
    """

    __slots__ = ("_call", "_context_parameter", "_in_thread", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._context_parameter = tool.context_parameter
        self._call = _callable(tool.target)
        self._in_thread = tool.runs_in == "thread"

    async def run(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Check the arguments, call the tool on the event loop or in a thread, and return what it returns.

        Raises:
            ArgumentsInvalid: if they do not match the tool's signature; the tool was not called.
        """
        values = self._values(arguments, context)
        if self._in_thread:
            return await run_in_thread(partial(self._call, **values), context)
        return await self._call(**values)

    def run_blocking(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Run the tool where there is no event loop, and return its result; an async tool gets a loop of its own.

        Raises:
            ArgumentsInvalid: if the arguments do not match the tool's signature; the tool was not called.
        """
        result = self._call(**self._values(arguments, context))
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    def _values(self, arguments: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """The checked arguments by name, and the context if the tool takes it."""
        values = msgspec.structs.asdict(check(self._tool, arguments))
        if self._context_parameter is not None:
            values[self._context_parameter] = context
        return values


def _callable(target: Any) -> Callable[..., Any]:
    instance: Any = instance_of(target) if inspect.isclass(target) else None
    call: Callable[..., Any] = target if instance is None else instance.run
    return call
