"""Finds what cannot be encoded inside a value, so that an error can say where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec

from taskserver.domain.messages import MAX_DEPTH

KEY_CHARACTERS = 50
"""Maximum length of a key that is shown."""

Part = tuple[str, Any]


def path_to(value: Any, fails: Callable[[Any], bool]) -> str:
    """The path to the first part that fails by itself, such as ``.rows[3].score``; empty if that is the value itself.

    Args:
        value: A value that fails.
        fails: Whether a part of it does.
    """
    path = ""
    for _ in range(MAX_DEPTH):
        found = next((part for part in _parts(value) if fails(part[1])), None)
        if found is None:
            break
        step, value = found
        path += step
    return path


def _parts(value: Any) -> Iterator[Part]:
    """What is directly inside a value, each with its step of the path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield " in a key", key
            yield _step(key), item
    elif isinstance(value, (Sequence, Set)) and not isinstance(value, (str, bytes, bytearray)):
        for position, item in enumerate(value):
            yield f"[{position}]", item
    elif not isinstance(value, type):
        for name in _field_names(value):
            yield f".{name}", getattr(value, name, None)


def _field_names(value: Any) -> Sequence[str]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if hasattr(value, "__attrs_attrs__") or hasattr(type(value), "model_fields"):
        return list(vars(value))
    return ()


def _step(key: Any) -> str:
    if isinstance(key, str) and key.isidentifier() and len(key) <= KEY_CHARACTERS:
        return f".{key}"
    shown = repr(key)
    if len(shown) > KEY_CHARACTERS:  # not cut: it may be a secret, of which a part would not be masked
        shown = f"a key of {len(shown):,} characters"
    return f"[{shown}]"
