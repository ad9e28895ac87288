"""References to tools, by module and name, so that another process can find them."""

from __future__ import annotations

import sys
from functools import reduce

from taskserver.errors import ToolInvalid
from taskserver.tools.modules import import_named
from taskserver.tools.processes.wire import ToolReference
from taskserver.tools.targets import location_of
from taskserver.tools.tool import Tool, tool_of


def reference_of(tool: Tool) -> ToolReference:
    """A reference by which another process finds this tool.

    Raises:
        ToolInvalid: if there is none: the tool is defined in the main program or in a function, or its name is hidden.
    """
    module, name = tool.target.__module__, tool.target.__qualname__
    start = f"{location_of(tool.target)}: runs_in='process'"
    if module == "__main__":
        raise ToolInvalid(f"{start} does not work in the main program; move the tool to a module that it imports")
    if "<" in name:
        raise ToolInvalid(f"{start} does not work inside a function; move the tool to the top level of its module")
    try:
        found: object = reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        found = None
    if found is not tool.target:
        raise ToolInvalid(f"{start} requires the tool to be importable as {module}.{name}; give it that name there")
    return ToolReference(module, name)


def tool_at(reference: ToolReference) -> Tool:
    """Import the tool.

    Raises:
        ConfigError: if the module cannot be imported.
        ToolInvalid: if the tool is not in it.
    """
    found: object = import_named(reference.module)
    for part in reference.name.split("."):
        found = getattr(found, part, None)
    tool = tool_of(found)
    if tool is None:
        raise ToolInvalid(f"{reference.module} has no tool {reference.name} when a tool process imports it")
    return tool
