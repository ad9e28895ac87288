"""Loads tools and consumers from modules."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from taskserver.domain.messages import ToolExecutionMessage
from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, ToolInvalid
from taskserver.tools.consumer import BaseConsumer, ToolExecutionConsumer, tool_not_found
from taskserver.tools.lifespan import Lifespan
from taskserver.tools.modules import import_module
from taskserver.tools.runner import runner_of
from taskserver.tools.targets import check_parameterless, location_of
from taskserver.tools.tool import Tool, tool_from, tool_of

Consumer = BaseConsumer[Any] | type[BaseConsumer[Any]]


class Toolbox:
    """The tools and consumers of one worker, as they are declared: no class is instantiated before the worker starts.

    Attributes:
        tools: The tools by name.
        consumers: The consumers by the tag of their message type, classes or instances; there is always one that runs
            tools.
        lifespans: Resources that a worker opens, whether or not a tool names them.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        consumers: Mapping[str, Consumer],
        lifespans: Sequence[Lifespan[..., Any]] = (),
    ) -> None:
        self.tools = dict(tools)
        self.consumers = dict(consumers)
        self.lifespans = tuple(lifespans)

    @classmethod
    def of(cls, *objects: object) -> Self:
        """A toolbox of decorated functions and classes, ``Tool`` records, lifespans, and consumers of either kind.

        Raises:
            ToolInvalid: if an object is none of these or cannot be loaded, or if two have the same name.
        """
        tools: dict[str, Tool] = {}
        consumers: list[Consumer] = []
        lifespans: list[Lifespan[..., Any]] = []
        for each in objects:
            tool = each if isinstance(each, Tool) else tool_of(each)
            if tool is not None:
                _add_tool(tools, tool)
            elif isinstance(each, Lifespan):
                lifespans.append(each)
            elif isinstance(each, BaseConsumer) or _is_consumer(each):
                consumers.append(each)  # type: ignore[arg-type]
            else:
                raise ToolInvalid(f"{location_of(each)} is neither a tool nor a consumer; decorate it with @tool")
        return cls(tools, _consumers(consumers, tools), lifespans)

    def tool(self, name: str) -> Tool:
        """The tool with this name.

        Raises:
            ToolNotFound: if there is none; the message suggests the nearest name.
        """
        try:
            return self.tools[name]
        except KeyError:
            raise tool_not_found(name, self.tools) from None


# For example "sql=my_agent.tools:SqlTool".
_SINGLE = re.compile(r"(?:(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)=)?(?P<module>[^=]+):(?P<object>[A-Za-z_][A-Za-z0-9_]*)")


def load(modules: Iterable[str], search: Path | None = None) -> Toolbox:
    """Import modules, and collect every tool, consumer and lifespan at their top level, defined there or imported.

    Args:
        modules: Dotted names such as ``my_agent.tools``, or files such as ``./tools.py``. ``my_agent.tools:SqlTool``
            loads only that class or function, decorated or not; ``sql=my_agent.tools:SqlTool`` names it ``sql``.
        search: Folder in which to look up relative files and top-level modules first; it is added to ``sys.path``.
            The current folder by default.

    Raises:
        ConfigError: if a module does not exist or fails to import.
        ToolInvalid: if a tool cannot be loaded, or two have the same name.
    """
    folder = Path.cwd() if search is None else search
    found: dict[int, object] = {}
    tools: dict[str, Tool] = {}
    for name in modules:
        if single := _SINGLE.fullmatch(name):
            _add_tool(tools, _single(import_module(single["module"], folder), single["object"], single["name"]))
            continue
        for each in vars(import_module(name, folder)).values():
            if isinstance(each, Lifespan) or tool_of(each) is not None or _is_consumer(each):
                found[id(each)] = each
    return Toolbox.of(*found.values(), *tools.values())


def load_some(modules: Iterable[str]) -> Toolbox:
    """As ``load``, but it is an error if the modules contain nothing to load.

    Raises:
        ConfigError: if a module cannot be loaded, or there is no tool and no consumer.
        ToolInvalid: if a tool cannot be loaded.
    """
    names = list(modules)
    toolbox = load(names)
    if not toolbox.tools and len(toolbox.consumers) <= 1:  # one that runs tools is always there
        raise ConfigError(f"no tools found in {', '.join(names)}: decorate a function with @tool")
    return toolbox


def _single(module: ModuleType, attribute: str, name: str | None) -> Tool:
    """One class or function of a module as a tool."""
    target = getattr(module, attribute, None)
    if target is None:
        near = did_you_mean(attribute, vars(module)) or ": check its name there"
        raise ConfigError(f"module {module.__name__!r} has no {attribute!r}{near}")
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        raise ConfigError(
            f"{module.__name__}:{attribute} cannot be a tool: name a class or a function that is written in Python"
        )
    known = tool_of(target)
    return tool_from(target, name or target.__name__) if known is None else known.renamed(name or known.name)


def _is_consumer(each: object) -> bool:
    """Whether this is a consumer class to instantiate: neither a base for others nor our own."""
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
        locations = f"{location_of(other.target)} and {location_of(tool.target)}"
        raise ToolInvalid(f"two tools are called {tool.name!r}: {locations}; rename one with @tool(name=...)")


def _consumers(given: Iterable[Consumer], tools: Mapping[str, Tool]) -> dict[str, Consumer]:
    """Consumers by the tag of their message type, including one that runs the tools."""
    for each in tools.values():
        runner_of(each)  # raises if it cannot be run
    consumers: dict[str, Consumer] = {}
    for consumer in given:
        if isinstance(consumer, type) and not issubclass(consumer, ToolExecutionConsumer):
            check_parameterless(consumer)
        other = consumers.setdefault(consumer.message_type.message_type, consumer)
        if other is not consumer:
            locations = f"{location_of(_class_of(other))} and {location_of(_class_of(consumer))}"
            raise ToolInvalid(
                f"two consumers for messages of type {consumer.message_type.message_type!r}: {locations}; remove one"
            )
    consumers.setdefault(ToolExecutionMessage.message_type, ToolExecutionConsumer)
    return consumers


def _class_of(consumer: Consumer) -> type:
    return consumer if isinstance(consumer, type) else type(consumer)
