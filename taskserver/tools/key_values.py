"""Reads a tool's arguments as people type them: ``key=value`` pairs, or one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from taskserver.errors import ArgumentsInvalid
from taskserver.tools.codec import convert
from taskserver.tools.tool import Tool


def parse_key_values(tool: Tool | None, pairs: Sequence[str]) -> dict[str, Any]:
    """The arguments as plain data, not yet checked.

    A value is parsed as JSON if it is valid JSON, and is a string otherwise. If the tool is known, its types come
    first: for an argument of type ``str``, ``code=007`` is a string.

    Args:
        tool: The tool; None if it is not known here.
        pairs: ``key=value`` pairs, or a single JSON object.

    Raises:
        ArgumentsInvalid: for anything else, and if an argument is given twice.
    """
    if len(pairs) == 1 and pairs[0].lstrip().startswith("{"):
        return _object(pairs[0])
    types = {field.name: field.type for field in msgspec.structs.fields(tool.arguments)} if tool else {}
    found = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            shown = f"{name}=…" if equals else name  # the value may be a secret
            raise ArgumentsInvalid(f"expected key=value or one JSON object, got {shown!r}")
        found.append((name, _value(text, types.get(name, Any))))
    return _unique(found)


def guessed(pairs: Sequence[str], arguments: Mapping[str, Any]) -> list[str]:
    """The names of those arguments whose text ``parse_key_values`` has taken as JSON, without knowing their types."""
    names = [pair.partition("=")[0] for pair in pairs]
    return [name for name in names if name in arguments and not isinstance(arguments[name], str)]


def _object(text: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = _json(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentsInvalid(f"the arguments are not a JSON object: {error}") from None
    return value


def _value(text: str, type_: Any) -> Any:
    if type_ is not Any:
        try:
            convert(text, type_)
        except Exception:  # noqa: BLE001, S110 - not a string: a number, a list, a model
            pass
        else:
            return text
    try:
        return _json(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    """Python's parser accepts ``NaN`` and ``Infinity``, which are not JSON (RFC 8259 section 6)."""
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ArgumentsInvalid(f"argument {name!r} is given twice; remove one")
        found[name] = value
    return found
