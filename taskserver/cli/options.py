"""Options that several commands share, and the forms of their values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from taskserver.domain.durations import seconds
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError
from taskserver.tools import Toolbox, load_some

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType):  # type: ignore[type-arg] # generic since click 8.2
    """A number of seconds, or a number with a unit: ``90``, ``1.5s``, ``250ms``, ``5m``, ``2h``, ``1d``.

    Args:
        least: Seconds at least.
        most: Seconds at most.
    """

    name = "duration"

    def __init__(self, least: float = 0, most: float = math.inf) -> None:
        self._least = least
        self._most = most

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How it is called in the help."""
        return "SECONDS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value in seconds."""
        try:
            span = seconds(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= span <= self._most:
            self.fail(f"{value!r} is not between {self._least:g} and {self._most:g} seconds", param, ctx)
        return span


class WeightedQueue(click.ParamType):  # type: ignore[type-arg]
    """A queue's name, or its name and weight: ``fast=3``."""

    name = "queue"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How it is called in the help."""
        return "NAME[=WEIGHT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given, if it is one."""
        _, separator, weight = str(value).partition("=")
        if separator and not (weight.isdecimal() and 1 <= int(weight) <= 1000):
            self.fail(f"{value!r}: behind = stands the queue's weight, 1 to 1000, as in fast=3", param, ctx)
        return str(value)


class Size(click.ParamType):  # type: ignore[type-arg]
    """An amount of memory in bytes: a number of them, or a number with a unit: ``512MB``, ``1.5GB``, ``2GiB``.

    Args:
        least: Bytes at least.
    """

    name = "size"

    def __init__(self, least: float = 0, _: float = math.inf) -> None:
        self._least = round(least)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The value in bytes."""
        try:
            return parse_size(int(value) if str(value).isdecimal() else value, self._least)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class ModuleName(click.ParamType):  # type: ignore[type-arg]
    """A module or file with tools; several in the environment variable are separated by commas."""

    name = "module"
    envvar_list_splitter = ","

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name without the blanks around it."""
        return str(value).strip()


broker_option = click.option(
    "--broker",
    "broker_url",
    metavar="URL",
    help="The broker; else TASKSERVER_BROKER_URL (which keeps passwords out of sight), else an embedded one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
tools_option = click.option(
    "--tools",
    "modules",
    type=ModuleName(),
    multiple=True,
    envvar="TASKSERVER_TOOLS",
    metavar="MODULE",
    help="Module or file with tools, my_agent.tools or ./tools.py; repeatable. Else TASKSERVER_TOOLS, by commas.",
)
queue_filter = click.option("--queue", "-q", metavar="NAME", help="Only of this queue.")
tool_filter = click.option("--tool", metavar="NAME", help="Only of this tool.")
error_filter = click.option("--error", metavar="TEXT", help="Only if the error's type or message contains this.")


def limit_option(default: int = 50) -> Callable[[F], F]:
    """``--limit``: how many to show."""
    return click.option(
        "--limit", type=click.IntRange(min=1), default=default, show_default=True, metavar="N", help="Show at most."
    )


def named_modules(modules: tuple[str, ...]) -> tuple[str, ...]:
    """The names of modules with tools.

    Raises:
        click.UsageError: if there is none.
    """
    wanted = tuple(filter(None, modules))
    if not wanted:
        raise click.UsageError("no tools: name their module by --tools my_agent.tools, or in TASKSERVER_TOOLS")
    return wanted


def load_tools(modules: tuple[str, ...]) -> Toolbox:
    """The tools and consumers of the modules.

    Raises:
        click.UsageError: if no module is named.
        ConfigError: if a module cannot be loaded, or there is nothing in them.
        ToolInvalid: if one of their tools cannot be.
    """
    return load_some(named_modules(modules))
