"""Encodes and decodes results and arguments: MessagePack by msgspec, with pydantic models where they are used.

Pydantic is looked up among the modules that are loaded already, and never imported here: a program that uses its models
has loaded it, and all others start faster.

User types run code of their own here (``__post_init__``, validators, serializers) and may raise anything. That is why
the functions below catch every Exception: whatever it is, the data is invalid.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from numbers import Integral, Rational, Real
from operator import index
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from taskserver.domain.messages import MAX_BYTES, check_cost
from taskserver.errors import MessageError, MessageInvalid, MessageTooLarge, ResultInvalid
from taskserver.tools.secrets import as_secret, dump_model, secret_types
from taskserver.tools.unsendable import path_to

T = TypeVar("T")


class _SecretInside(TypeError):
    """There is a secret in the data to be encoded; the message is the name of its type."""


def encode(value: Any, what: str = "result", max_bytes: int = MAX_BYTES) -> bytes:
    """The value as MessagePack.

    Args:
        value: Plain data, dates, sets, enums, paths, dataclasses, msgspec structs or pydantic models.
        what: What to call the data in an error message.
        max_bytes: Maximum size in bytes.

    Raises:
        ResultInvalid: if it contains anything else, or more than a reader's limits allow.
    """
    try:
        return _encode(_encoder, value, what, max_bytes)
    except MessageError as error:
        raise ResultInvalid(str(error)) from None
    except _SecretInside as error:
        raise ResultInvalid(
            f"{what} contains a {error}{_at(value)}, but is stored and shown unmasked: "
            "leave it out, or pass its plain value if anyone may see it"
        ) from None


def encode_message(message: Any, what: str = "the message") -> tuple[bytes, frozenset[str]]:
    """The message as MessagePack with secrets unmasked, and the names of the fields that contain them.

    Raises:
        MessageTooLarge: if it contains more than a reader's limits allow.
        MessageInvalid: if it contains something that cannot be encoded.
    """
    try:
        data = _encoder.encode(message)
        check_cost(data, what)
    except Exception:  # noqa: BLE001 - see the top
        return _encode_with_secrets(message, what)
    return data, _NO_NAMES


def _encode_with_secrets(message: Any, what: str) -> tuple[bytes, frozenset[str]]:
    """As ``encode_message``, after a first failure: the message contains secrets, or cannot be encoded at all."""
    try:
        return _encode(_encoder, message, what, MAX_BYTES), _NO_NAMES
    except _SecretInside:
        names: set[str] = set()
        plain = _unmarked(msgspec.msgpack.decode(_encode(_marking_encoder, message, what, MAX_BYTES)), "", names)
        return _encode(_encoder, plain, what, MAX_BYTES), frozenset(names)


def _encode(encoder: msgspec.msgpack.Encoder, value: Any, what: str, max_bytes: int) -> bytes:
    try:
        data = encoder.encode(value)
        check_cost(data, what, max_bytes)
    except (_SecretInside, MessageError):
        raise
    except RecursionError:
        raise MessageTooLarge(f"{what} is nested too deeply, or contains itself") from None
    except OverflowError:
        text = f"{what} contains an integer of more than 64 bits{_at(value)}; pass it as a string"
        raise MessageInvalid(text) from None
    except UnicodeEncodeError:
        text = f"{what} contains a lone surrogate, which is not a valid character{_at(value)}; replace it"
        raise MessageInvalid(text) from None
    except Exception as error:  # noqa: BLE001 - see the top
        raise MessageInvalid(f"{what} could not be encoded{_at(value)}: {_one_line(error)}") from None
    return data


def _at(value: Any) -> str:
    """Where in a value is what cannot be encoded, as part of a sentence."""
    path = path_to(value, _fails)
    return f" at {path}" if path else ""


def _fails(part: Any) -> bool:
    try:
        _encoder.encode(part)
    except Exception:  # noqa: BLE001 - see the top
        return True
    return False


def decode(
    data: bytes,
    type: type[T],  # noqa: A002 - msgspec's own word
    what: str = "result",
    max_bytes: int = MAX_BYTES,
) -> T:
    """Decode untrusted MessagePack as ``type``.

    Args:
        data: The bytes.
        type: The expected type; ``Any`` for plain data.
        what: What to call the data in an error message.
        max_bytes: Maximum size in bytes.

    Raises:
        ResultInvalid: if it is not of this type, not MessagePack, or would cost too much to decode.
    """
    try:
        check_cost(data, what, max_bytes)
        value: T = _decoder(type).decode(data)
    except MessageError as error:
        raise ResultInvalid(str(error)) from None
    except Exception as error:  # noqa: BLE001 - see the top
        raise ResultInvalid(f"{what} is not of type {_type_name(type)}: {_one_line(error)}") from None
    return value


def convert(value: Any, type: type[T]) -> T:  # noqa: A002 - msgspec's own word
    """Convert plain data to ``type``, strictly: "5" is not an int. Keys of a dict may be strings, as in JSON.

    Raises:
        Exception: if the data is invalid: mostly msgspec.ValidationError, or whatever a type's own code raises.
    """
    return msgspec.convert(value, type, str_keys=True, dec_hook=dec_hook)


def enc_hook(value: Any) -> Any:
    """Turn an object that msgspec does not know into one that it knows.

    Raises:
        TypeError: for types that cannot be encoded.
    """
    if isinstance(value, secret_types()):
        raise _SecretInside(type(value).__name__)
    if is_model(type(value)):
        return dump_model(value)
    if isinstance(value, PurePath):
        return str(value)
    for base, plain in _SUBCLASSED.items():
        if isinstance(value, base):
            return plain(value)
    if (number := _plain_number(value)) is not None:
        return number
    instead = "call its tolist()" if getattr(value, "ndim", 0) else _INSTEAD
    raise TypeError(f"values of type {_type_name(type(value))} are not supported; {instead}")


def _plain_number(value: Any) -> bool | int | float | None:
    """A number of another type, such as numpy's scalars, as a plain one; None if it is none, or would lose something.

    An array is not a number, even if it has only one element.
    """
    if getattr(value, "ndim", 0) != 0:
        return None
    if hasattr(value, "dtype") and getattr(value.dtype, "kind", "") not in _MOMENTS:
        plain = value.item()
        if isinstance(plain, (bool, int, float)) and type(plain) in (bool, int, float):
            return plain
    if isinstance(value, Integral):
        return index(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, Rational) else None


def dec_hook(type_: Any, value: Any) -> Any:
    """Build an object of a type that msgspec does not know from plain data.

    Raises:
        ValueError: if the data is invalid for a pydantic model.
        TypeError: if the type is unknown, or the data is of another type.
    """
    if type_ is object:
        return value
    if isinstance(type_, type):
        if is_model(type_):
            return _validate(type_, value)
        if type_ in secret_types():
            return as_secret(type_, value)
        if issubclass(type_, PurePath) and isinstance(value, str):
            return type_(value)
    raise TypeError(f"Expected `{getattr(type_, '__name__', type_)}`, got `{type(value).__name__}`")


def is_model(type_: Any) -> bool:
    """Whether this is a pydantic model class."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(type_, type) and issubclass(type_, base)


def _mark(value: Any) -> Any:
    """As ``enc_hook``, but with each secret as a MessagePack extension, so that ``_unmarked`` finds it."""
    if isinstance(value, secret_types()):
        return msgspec.msgpack.Ext(_SECRET, _encoder.encode(value.get_secret_value()))
    return enc_hook(value)


def _unmarked(value: Any, name: str, names: set[str]) -> Any:
    """Plain data with the secrets unmasked; names of the fields that contain them are added to ``names``."""
    if isinstance(value, dict):
        return {key: _unmarked(item, key if isinstance(key, str) else name, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unmarked(item, name, names) for item in value]
    if isinstance(value, msgspec.msgpack.Ext) and value.code == _SECRET:
        names.add(name)
        return msgspec.msgpack.decode(value.data)
    return value


def _validate(model: Any, value: Any) -> Any:
    try:
        return model.model_validate(value)
    except ValueError as error:
        try:
            # A strict model accepts a date or an enum as a string only from JSON, which is where the data came from.
            return model.model_validate_json(_json_encoder.encode(value))
        except Exception:  # noqa: BLE001 - see the top
            raise ValueError(_model_problems(error)) from None


def _model_problems(error: Any) -> str:
    """The first problems of a pydantic ValidationError on one line, without the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:3]
    return ", ".join(f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in problems)


def _type_name(type_: Any) -> str:
    if not isinstance(type_, type):
        return str(type_)
    return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _decoder(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    try:
        return _cached_decoder(type_)
    except TypeError:  # not hashable, such as Annotated with a list; or not a type, which is raised again
        return _cached_decoder.__wrapped__(type_)


@lru_cache(maxsize=512)
def _cached_decoder(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_, dec_hook=dec_hook)


# msgspec encodes subclasses of dict and list, but not of other builtins.
_SUBCLASSED: dict[type, Any] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
    Mapping: dict,
    Sequence: list,
    Set: list,
}
_INSTEAD = "use plain data, a dataclass, a msgspec Struct or a pydantic model"
_MOMENTS = ("M", "m")
"""Kinds of numpy's times and durations, whose ``item`` may be a bare number."""
_NO_NAMES: frozenset[str] = frozenset()
_SECRET = 83
"""Code of the MessagePack extension for secrets while a message is encoded; it is never sent."""
_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
_marking_encoder = msgspec.msgpack.Encoder(enc_hook=_mark)
_json_encoder = msgspec.json.Encoder(enc_hook=enc_hook)
