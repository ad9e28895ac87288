"""Loads the tools and consumers of the modules that a worker is told to load."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from taskserver.domain.messages import ToolExecutionMessage
from taskserver.errors import ConfigError, MessageInvalid, ToolInvalid
from taskserver.tools.consumer import BaseConsumer, ToolExecutionConsumer, tool_not_found
from taskserver.tools.form import place_of, required_parameters
from taskserver.tools.modules import import_module
from taskserver.tools.tool import Tool, tool_of


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
        """A toolbox of decorated functions and classes, and of consumers: classes or instances.

        Raises:
            ToolInvalid: if one is neither, cannot be loaded, or takes the name of another.
        """
        tools: dict[str, Tool] = {}
        consumers: list[BaseConsumer[Any] | type[BaseConsumer[Any]]] = []
        for each in objects:
            tool = tool_of(each)
            if tool is not None:
                _add_tool(tools, tool)
            elif isinstance(each, BaseConsumer) or _is_consumer(each):
                consumers.append(each)  # type: ignore[arg-type]
            else:
                raise ToolInvalid(f"{place_of(each)} is neither a tool nor a consumer; decorate it with @tool")
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


def load(modules: Iterable[str], search: Path | None = None) -> Toolbox:
    """Import modules, and collect every tool and consumer at their top level, defined there or imported.

    Args:
        modules: Dotted names such as ``my_agent.tools``, or files such as ``./tools.py``.
        search: Folder that relative files and top-level modules are looked up in first; it is put on
            ``sys.path``. By default the current folder.

    Raises:
        ConfigError: if a module is missing or fails when it is imported.
        ToolInvalid: if a tool cannot be loaded, or takes the name of another.
    """
    folder = Path.cwd() if search is None else search
    found: dict[int, object] = {}
    for name in modules:
        for each in vars(import_module(name, folder)).values():
            if tool_of(each) is not None or _is_consumer(each):
                found[id(each)] = each
    return Toolbox.of(*found.values())


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
        places = f"{place_of(other.target)} and {place_of(tool.target)}"
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
            places = f"{place_of(type(other))} and {place_of(type(consumer))}"
            raise ToolInvalid(f"two consumers for messages of type {consumer.message_type.message_type!r}: {places}")
    if ToolExecutionMessage.message_type not in consumers:
        consumers[ToolExecutionMessage.message_type] = ToolExecutionConsumer(tools)
    return consumers


def _made(cls: type[BaseConsumer[Any]], tools: Mapping[str, Tool]) -> BaseConsumer[Any]:
    if issubclass(cls, ToolExecutionConsumer):
        return cls(tools)
    required = required_parameters(cls)
    if required:
        raise ToolInvalid(f"{place_of(cls)}: a worker makes it without arguments; give {required} a default")
    try:
        return cls()
    except Exception as error:
        raise ToolInvalid(f"{place_of(cls)} cannot be made: {type(error).__name__}: {error}") from error
