"""Calls a tool: everything that can be known before the first job is worked out once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from taskserver.errors import ToolInvalid
from taskserver.tools.arguments import check
from taskserver.tools.context import Context
from taskserver.tools.form import place_of
from taskserver.tools.threads import run_in_thread
from taskserver.tools.tool import Tool


class Runner:
    """One tool, ready to run. A tool that is a class is made here, once.

    Raises:
        ToolInvalid: if an annotation cannot be resolved, or the class cannot be made.
    """

    __slots__ = ("_call", "_context_parameter", "_in_thread", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._context_parameter = tool.context_parameter
        self._in_thread = tool.runs_in == "thread"
        self._call = _callable(tool.target)

    async def run(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Check the arguments, call the tool, and return what it returns.

        Raises:
            ArgumentsInvalid: if they do not fit; the tool was not called.
        """
        values = msgspec.structs.asdict(check(self._tool, arguments))
        if self._context_parameter is not None:
            values[self._context_parameter] = context
        if self._in_thread:
            return await run_in_thread(partial(self._call, **values), context)
        return await self._call(**values)


def _callable(target: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.isclass(target):
        return target
    cls: Any = target
    try:
        call: Callable[..., Any] = cls().run
    except Exception as error:
        raise ToolInvalid(f"{place_of(target)} cannot be made: {type(error).__name__}: {error}") from error
    return call
