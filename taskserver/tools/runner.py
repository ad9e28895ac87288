"""Runs tools where they are declared to run: in this process, or in one of the worker's processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskserver.errors import ToolInvalid
from taskserver.tools.call import Call
from taskserver.tools.context import Context
from taskserver.tools.lifespan import Resources
from taskserver.tools.processes import processes, reference_of
from taskserver.tools.tool import Tool


class ProcessRunner:
    """Runs a tool in one of the worker's processes. A class is instantiated there, once in each process.

    Raises:
        ToolInvalid: if another process could not find the tool.
    """

    __slots__ = ("_tool",)

    def __init__(self, tool: Tool) -> None:
        reference_of(tool)
        self._tool = tool

    async def open(self, resources: Resources) -> None:
        """Nothing: the tool's processes do that."""

    async def run(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Run the tool. Its process checks the arguments, to keep that work off the event loop.

        Raises:
            RaisedInProcess: if the tool raised an error, its arguments were invalid, or its process ended.
        """
        pool = processes.get(None)
        if pool is None:
            raise ToolInvalid(f"tool {self._tool.name!r} runs in a process, which only a running worker can provide")
        return await pool.run(self._tool, arguments, context)


def runner_of(tool: Tool) -> Call | ProcessRunner:
    """The runner for this tool.

    Raises:
        ToolInvalid: if it cannot be run.
    """
    return ProcessRunner(tool) if tool.runs_in == "process" else Call(tool)
