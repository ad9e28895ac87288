"""Loads the tools and consumers of the modules that a worker is told to load."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from taskserver.domain.messages import ToolExecutionMessage
from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, MessageInvalid, ToolInvalid
from taskserver.tools.consumer import BaseConsumer, ToolExecutionConsumer, tool_not_found
from taskserver.tools.modules import import_module
from taskserver.tools.targets import location_of, required_parameters
from taskserver.tools.tool import Tool, declared, tool_of


class Toolbox:
    """The tools and consumers that one worker has.

    Attributes:
        tools: The tools by name.
        consumers: The consumers by the tag of their message type; the one that runs tools is always there.
    """

    def __init__(self, tools: Mapping[str, Tool], consumers: Mapping[str, BaseConsumer[Any]]) -> None:
        self.tools = dict(tools)
        self.consumers = dict(consumers)

    @classmethod
    def of(cls, *objects: object) -> Self:
        """A toolbox of decorated functions and classes, of records of tools, and of consumers: classes or instances.

        Raises:
            ToolInvalid: if one is neither, cannot be loaded, or takes the name of another.
        """
        tools: dict[str, Tool] = {}
        consumers: list[BaseConsumer[Any] | type[BaseConsumer[Any]]] = []
        for each in objects:
            tool = each if isinstance(each, Tool) else tool_of(each)
            if tool is not None:
                _add_tool(tools, tool)
            elif isinstance(each, BaseConsumer) or _is_consumer(each):
                consumers.append(each)  # type: ignore[arg-type]
            else:
                raise ToolInvalid(f"{location_of(each)} is neither a tool nor a consumer; decorate it with @tool")
        return cls(tools, _consumers(consumers, tools))

    def tool(self, name: str) -> Tool:
        """The tool of that name.

        Raises:
            ToolNotFound: if there is none, with the nearest name.
        """
        try:
            return self.tools[name]
        except KeyError:
            raise tool_not_found(name, self.tools) from None

    def consumer_for(self, tag: str) -> BaseConsumer[Any]:
        """The consumer of a message type, by the type's tag.

        Raises:
            MessageInvalid: if nobody here consumes it.
        """
        try:
            return self.consumers[tag]
        except KeyError:
            known = ", ".join(sorted(self.consumers))
            raise MessageInvalid(f"nobody here consumes messages of type {tag[:200]!r}, only {known}") from None


# "sql=my_agent.tools:SqlTool"; a drive's colon, as in C:\\tools.py, has more than a name behind it.
_SINGLE = re.compile(r"(?:(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)=)?(?P<module>[^=]+):(?P<object>[A-Za-z_][A-Za-z0-9_]*)")


def load(modules: Iterable[str], search: Path | None = None) -> Toolbox:
    """Import modules, and collect every tool and consumer at their top level, defined there or imported.

    Args:
        modules: Dotted names such as ``my_agent.tools``, or files such as ``./tools.py``. With ``:SqlTool`` behind
            it, only that class or function is taken, decorated or not; with ``sql=`` in front, by that name.
        search: Folder that relative files and top-level modules are looked up in first; it is put on
            ``sys.path``. By default the current folder.

    Raises:
        ConfigError: if a module is missing or fails when it is imported.
        ToolInvalid: if a tool cannot be loaded, or takes the name of another.
    """
    folder = Path.cwd() if search is None else search
    found: dict[int, object] = {}
    tools: dict[str, Tool] = {}
    for name in modules:
        if single := _SINGLE.fullmatch(name):
            _add_tool(tools, _single(import_module(single["module"], folder), single["object"], single["name"]))
            continue
        for each in vars(import_module(name, folder)).values():
            if tool_of(each) is not None or _is_consumer(each):
                found[id(each)] = each
    return Toolbox.of(*found.values(), *tools.values())


def load_some(modules: Iterable[str]) -> Toolbox:
    """The same, where there must be something in them.

    Raises:
        ConfigError: if a module cannot be loaded, or there is no tool and no consumer.
        ToolInvalid: if one of their tools cannot be.
    """
    names = list(modules)
    toolbox = load(names)
    if not toolbox.tools and len(toolbox.consumers) <= 1:  # the consumer that runs tools is always there
        raise ConfigError(f"there is no tool in {', '.join(names)}: put @tool in front of a function")
    return toolbox


def _single(module: ModuleType, attribute: str, name: str | None) -> Tool:
    """One class or function of a module as a tool."""
    target = getattr(module, attribute, None)
    if target is None:
        near = did_you_mean(attribute, vars(module)) or ": look there for what it is called"
        raise ConfigError(f"there is no {attribute!r} in the module {module.__name__!r}{near}")
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        raise ConfigError(
            f"{module.__name__}:{attribute} is no tool: name a class or a function that is written in Python"
        )
    known = tool_of(target)
    return declared(target, name or target.__name__) if known is None else known.renamed(name or known.name)


def _is_consumer(each: object) -> bool:
    """Whether this is a consumer's class that could be made: neither a base for others nor one of ours."""
    return (
        inspect.isclass(each)
        and issubclass(each, BaseConsumer)
        and each is not ToolExecutionConsumer
        and hasattr(each, "message_type")  # a generic base for other consumers has none
        and not inspect.isabstract(each)
    )


def _add_tool(tools: dict[str, Tool], tool: Tool) -> None:
    other = tools.setdefault(tool.name, tool)
    if other is not tool:
        places = f"{location_of(other.target)} and {location_of(tool.target)}"
        raise ToolInvalid(f"two tools are called {tool.name!r}: {places}; rename one by @tool(name=...)")


def _consumers(
    given: Iterable[BaseConsumer[Any] | type[BaseConsumer[Any]]], tools: Mapping[str, Tool]
) -> dict[str, BaseConsumer[Any]]:
    """Instances by the tag of their message type, with one that runs the tools."""
    consumers: dict[str, BaseConsumer[Any]] = {}
    for each in given:
        consumer = _made(each, tools) if isinstance(each, type) else each
        other = consumers.setdefault(consumer.message_type.message_type, consumer)
        if other is not consumer:
            places = f"{location_of(type(other))} and {location_of(type(consumer))}"
            raise ToolInvalid(f"two consumers for messages of type {consumer.message_type.message_type!r}: {places}")
    if ToolExecutionMessage.message_type not in consumers:
        consumers[ToolExecutionMessage.message_type] = ToolExecutionConsumer(tools)
    return consumers


def _made(cls: type[BaseConsumer[Any]], tools: Mapping[str, Tool]) -> BaseConsumer[Any]:
    if issubclass(cls, ToolExecutionConsumer):
        return cls(tools)
    required = required_parameters(cls)
    if required:
        raise ToolInvalid(f"{location_of(cls)}: a worker makes it without arguments; give {required} a default")
    try:
        return cls()
    except Exception as error:
        raise ToolInvalid(f"{location_of(cls)} cannot be made: {type(error).__name__}: {error}") from error
