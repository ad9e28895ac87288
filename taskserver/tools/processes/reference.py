"""Where a tool is defined, in words that another process understands: its module, and its name there."""

from __future__ import annotations

import sys
from functools import reduce

from taskserver.errors import ToolInvalid
from taskserver.tools.modules import import_named
from taskserver.tools.processes.wire import ToolReference
from taskserver.tools.targets import location_of
from taskserver.tools.tool import Tool, tool_of


def reference_of(tool: Tool) -> ToolReference:
    """Where another process finds this tool.

    Raises:
        ToolInvalid: if it cannot: the tool is defined in the program itself, in a function, or hidden by another name.
    """
    module, name = tool.target.__module__, tool.target.__qualname__
    place = f"{location_of(tool.target)}: runs_in='process'"
    if module == "__main__":
        raise ToolInvalid(f"{place} does not work in the program itself; move the tool to a module that it imports")
    if "<" in name:
        raise ToolInvalid(f"{place} does not work inside of a function; move the tool to the top of its module")
    try:
        found: object = reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        found = None
    if found is not tool.target:
        raise ToolInvalid(f"{place} needs its module to find it again as {module}.{name}; give it that name there")
    return ToolReference(module, name)


def tool_at(reference: ToolReference) -> Tool:
    """The tool, imported here.

    Raises:
        ConfigError: if the module cannot be imported.
        ToolInvalid: if the tool is not there.
    """
    found: object = import_named(reference.module)
    for part in reference.name.split("."):
        found = getattr(found, part, None)
    tool = tool_of(found)
    if tool is None:
        raise ToolInvalid(f"{reference.module} has no tool {reference.name} when it is imported in a process")
    return tool
