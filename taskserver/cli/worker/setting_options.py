"""Options of ``taskserver worker`` made from the declarations of the worker settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from taskserver.cli.param_types import Duration, Size
from taskserver.config.texts import variable
from taskserver.config.values import BYTES, SECONDS, WHOLE, as_written
from taskserver.config.worker_settings import Option, WorkerSettings

F = TypeVar("F", bound=Callable[..., Any])


def setting_options(command: F) -> F:
    """One option for each worker setting; those that are not given are None."""
    for name, field in reversed(WorkerSettings.model_fields.items()):
        option = next((each for each in field.metadata if isinstance(each, Option)), Option())
        if option.offered:
            command = _option(name, field, option)(command)
    return command


def _option(name: str, field: FieldInfo, option: Option) -> Callable[[F], F]:
    flags = [option.flags or f"--{name.replace('_', '-')}", *filter(None, [option.short])]
    default = "" if field.default in (None, "") else f"default: {as_written(field.default)}; "
    return click.option(
        *flags,
        name,
        default=None,
        type=None if isinstance(field.default, bool) else _kind(field),
        metavar=option.metavar or ("N" if WHOLE in field.metadata else "SIZE" if BYTES in field.metadata else None),
        help=f"{field.description} [{default}env: {variable(name)}]",
    )


def _kind(field: FieldInfo) -> Any:
    least = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), 0)
    most = next((bound.le for bound in field.metadata if hasattr(bound, "le")), None)
    if SECONDS in field.metadata:
        return Duration(least, math.inf if most is None else most)
    if BYTES in field.metadata:
        return Size(least)
    if WHOLE in field.metadata:
        return click.IntRange(least, most)
    return click.Choice(get_args(field.annotation)) if get_origin(field.annotation) is Literal else click.STRING
