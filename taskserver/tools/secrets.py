"""Secrets by type: pydantic's ``SecretStr`` and ``SecretBytes`` in arguments, and which fields are declared secret.

As in ``codec.py``, pydantic is looked up among the modules that are loaded already.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

_STARS = "**********"
"""How pydantic masks a secret."""


def secret_types() -> tuple[Any, ...]:
    """The types of secrets; none if pydantic is not loaded."""
    pydantic = sys.modules.get("pydantic")
    return (pydantic.SecretStr, pydantic.SecretBytes) if pydantic else ()


def reveal_secrets(value: Any, found: list[str]) -> Any:
    """Dicts and lists with secrets replaced by their values, which are also added to ``found`` as text."""
    if isinstance(value, secret_types()):
        plain = value.get_secret_value()
        found.append(plain if isinstance(plain, str) else plain.decode("utf-8", "backslashreplace"))
        return plain
    if isinstance(value, Mapping):
        return {key: reveal_secrets(item, found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [reveal_secrets(item, found) for item in value]
    return value


def as_secret(type_: Any, value: Any) -> Any:
    """The value for an argument of a secret type: a secret as it is, or one made from a string or bytes.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, type_):
        return value
    plain = str if type_ is secret_types()[0] else bytes
    if plain is bytes and isinstance(value, str):
        value = value.encode()
    if not isinstance(value, plain):
        raise TypeError(f"Expected `{plain.__name__}`, got `{type(value).__name__}`")
    return type_(value)


def dump_model(model: Any) -> Any:
    """A model as plain data, but with its secrets, which pydantic would mask, as they are."""
    shown = model.model_dump(mode="json", by_alias=True)
    return _with_secrets(shown, model.model_dump(by_alias=True)) if _has_stars(shown) else shown


def _has_stars(shown: Any) -> bool:
    if isinstance(shown, dict):
        return any(map(_has_stars, shown.values()))
    if isinstance(shown, list):
        return any(map(_has_stars, shown))
    return isinstance(shown, str) and shown == _STARS


def _with_secrets(shown: Any, live: Any) -> Any:
    if isinstance(live, secret_types()):
        return live
    if isinstance(live, dict) and isinstance(shown, dict):
        return {key: _with_secrets(*pair) for key, *pair in zip(shown, shown.values(), live.values(), strict=True)}
    if isinstance(live, (list, tuple)) and isinstance(shown, list):
        return [_with_secrets(*pair) for pair in zip(shown, live, strict=True)]
    if isinstance(live, Set) and any(isinstance(item, secret_types()) for item in live):
        return list(live)
    return shown


class _Field(NamedTuple):
    """A field as it is sent: under one of these names."""

    names: tuple[str, ...]
    type: Any


@lru_cache(maxsize=1024)
def secret_fields(cls: type) -> frozenset[str]:
    """Names of the fields of a class, and of classes inside it, whose values are declared secret.

    A field that contains a list or dict of secrets counts as secret. For a field that contains another class, that
    class's own fields count.
    """
    found: set[str] = set()
    _is_secret(cls, found, set())
    return frozenset(found)


def _is_secret(hint: Any, found: set[str], seen: set[Any]) -> bool:
    """Whether this type contains a secret that is in no named field; names of secret fields are added to ``found``."""
    hint = getattr(hint, "__value__", getattr(hint, "__supertype__", hint))  # `type X = …`, NewType
    if hint in secret_types():
        return True
    parts = [*get_args(hint), get_origin(hint)] if get_origin(hint) else []
    if parts:
        return (
            sum(_is_secret(part, found, seen) for part in parts) > 0
        )  # all of them are checked: `any` would stop early
    if not inspect.isclass(hint) or hint in seen:
        return False
    seen.add(hint)
    nameless = False
    for names, type_ in _fields(hint):
        if _is_secret(type_, found, seen):
            found.update(names)
            nameless = nameless or not names
    return nameless


def _fields(cls: Any) -> Iterator[_Field]:
    """The fields of a class, without names if it is sent as an array."""
    if issubclass(cls, msgspec.Struct):
        array = cls.__struct_config__.array_like
        for field in msgspec.structs.fields(cls):
            yield _Field(() if array else (field.encode_name,), field.type)
    elif hasattr(cls, "model_fields"):
        for name, field in cls.model_fields.items():
            aliases = (field.alias, field.validation_alias, field.serialization_alias)
            names = (name, *(alias for alias in aliases if isinstance(alias, str)))
            yield _Field(() if name == "root" else names, field.annotation)
    elif dataclasses.is_dataclass(cls) or is_typeddict(cls) or hasattr(cls, "__attrs_attrs__"):
        for name, type_ in get_type_hints(cls, include_extras=True).items():
            yield _Field((name,), type_)
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        for type_ in get_type_hints(cls, include_extras=True).values():
            yield _Field((), type_)
