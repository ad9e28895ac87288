"""A tool that can be called in this process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from taskserver.errors import ToolInvalid
from taskserver.tools.arguments import check
from taskserver.tools.context import Context
from taskserver.tools.targets import location_of
from taskserver.tools.tool import Tool


class Call:
    """Calls one tool. If the tool is a class, it is instantiated once, here.

    Raises:
        ToolInvalid: if an annotation cannot be resolved, or the class could not be instantiated.
    """

    __slots__ = ("_call", "_context_parameter", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._context_parameter = tool.context_parameter
        self._call = _callable(tool.target)

    def values(self, arguments: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """The checked arguments by name, and the context if the tool takes it.

        Raises:
            ArgumentsInvalid: if the arguments do not match the tool's signature.
        """
        values = msgspec.structs.asdict(check(self._tool, arguments))
        if self._context_parameter is not None:
            values[self._context_parameter] = context
        return values

    def run_blocking(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Run the tool where there is no event loop, and return its result; an async tool gets a loop of its own.

        Raises:
            ArgumentsInvalid: if the arguments do not match the tool's signature; the tool was not called.
        """
        result = self._call(**self.values(arguments, context))
        return asyncio.run(result) if inspect.iscoroutine(result) else result


def _callable(target: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.isclass(target):
        return target
    cls: Any = target
    try:
        call: Callable[..., Any] = cls().run
    except Exception as error:
        raise ToolInvalid(
            f"{location_of(target)} could not be instantiated: {type(error).__name__}: {error}"
        ) from error
    return call
