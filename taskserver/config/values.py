"""Kinds of values that the environment, configuration files and the command line share.

Each is used in an ``Annotated`` type, after the bounds. In a file the value of a reference is a string
(``ResolvedText``), also where a number is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from taskserver.config.document import spelling
from taskserver.config.references import ResolvedText
from taskserver.domain.durability import Durability
from taskserver.domain.durations import seconds
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError


def explained(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap ``check`` for pydantic, which expects a ValueError with the message."""

    def checked(value: Any) -> Any:
        try:
            return check(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return checked


def parsed(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Apply ``read`` to strings, and leave other values to pydantic."""
    return explained(lambda value: read(value) if isinstance(value, str) else value)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, ResolvedText) and value.strip().isdecimal() else value


def _flag(value: Any) -> Any:
    return (
        {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, ResolvedText) else value
    )


def _number_as_text(value: Any) -> Any:
    return spelling(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


WHOLE = BeforeValidator(_whole)
FLAG = BeforeValidator(_flag)
SECONDS = BeforeValidator(parsed(seconds), json_schema_input_type=float | str)
"""A number of seconds, or one with a unit: ``90s``."""
BYTES = BeforeValidator(parsed(parse_size), json_schema_input_type=int | str)
"""A number of bytes, or one with a unit: ``64 KiB``."""
DURABILITY = BeforeValidator(parsed(Durability.parse), json_schema_input_type=str)
AS_TEXT = BeforeValidator(_number_as_text, json_schema_input_type=str | float)
"""A string; a number needs no quotes, and stays as it is written."""

Slots = Annotated[int, Field(ge=1, le=10_000), WHOLE]


def as_written(value: object) -> str:
    """A value as people write it: ``true``, ``15``."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
