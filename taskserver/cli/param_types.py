"""Types of option values: durations, sizes, weighted queues and modules."""

from __future__ import annotations

import math
from typing import Any

import click

from taskserver.config.texts import tidied
from taskserver.domain.durations import seconds
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError


class Duration(click.ParamType):  # type: ignore[type-arg] # generic since click 8.2
    """A number of seconds, or a number with a unit: ``90``, ``1.5s``, ``250ms``, ``5m``, ``2h``, ``1d``.

    Args:
        least: Minimum, in seconds.
        most: Maximum, in seconds.
    """

    name = "duration"

    def __init__(self, least: float = 0, most: float = math.inf) -> None:
        self._least = least
        self._most = most

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The name of the value in the help."""
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
        """The name of the value in the help."""
        return "NAME[=WEIGHT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value itself, once it is checked."""
        _, separator, weight = str(value).partition("=")
        if separator and not (weight.isdecimal() and 1 <= int(weight) <= 1000):
            self.fail(f"{value!r}: '=' must be followed by the queue's weight, 1 to 1000, as in fast=3", param, ctx)
        return str(value)


class Size(click.ParamType):  # type: ignore[type-arg]
    """An amount of memory in bytes: a number of them, or a number with a unit: ``512MB``, ``1.5GB``, ``2GiB``.

    Args:
        least: Minimum, in bytes.
    """

    name = "size"

    def __init__(self, least: int = 0) -> None:
        self._least = least

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
        """The name without surrounding blanks and a byte order mark."""
        return tidied(str(value)).strip()
