"""Results and arguments as bytes and back: MessagePack by msgspec, and pydantic models where they are used.

Pydantic is looked up among the modules that are loaded already and never imported here: whoever hands us one of
its models has loaded it, and everybody else starts faster.

Types of users run code of their own here (``__post_init__``, validators, serializers) and may raise anything.
That is why the functions below catch every Exception: whatever it is, the data did not fit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from taskserver.domain.limits import MAX_BYTES, check_cost
from taskserver.errors import MessageError, ResultInvalid
from taskserver.tools.secrets import as_secret, dumped, secret_types

T = TypeVar("T")


class _SecretInside(TypeError):
    """A secret among what is to be encoded; its text is the type's name."""


def encode(value: Any, what: str = "result", max_bytes: int = MAX_BYTES) -> bytes:
    """The value as MessagePack.

    Args:
        value: Plain data, dates, sets, enums, paths, dataclasses, msgspec structs or pydantic models.
        what: How to call it in an error.
        max_bytes: The largest size allowed.

    Raises:
        ResultInvalid: if it holds something else, or more than a reader's limits allow.
    """
    try:
        return _encode(_encoder, value, what, max_bytes)
    except _SecretInside as error:
        raise ResultInvalid(
            f"{what} holds a {error}, but is kept and shown in clear: leave it out, or give its text if it may be seen"
        ) from None


def encode_message(message: Any, what: str = "the message") -> tuple[bytes, frozenset[str]]:
    """The message as MessagePack, secrets in clear, and the names of the fields that hold them.

    Raises:
        ResultInvalid: as ``encode``.
    """
    try:
        data = _encoder.encode(message)
        check_cost(data, what)
    except Exception:  # noqa: BLE001 - see the top
        return _encode_with_secrets(message, what)
    return data, _NO_NAMES


def _encode_with_secrets(message: Any, what: str) -> tuple[bytes, frozenset[str]]:
    """As ``encode_message``, where the first try has failed: there are secrets in the message, or it cannot be sent."""
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
    except _SecretInside:
        raise
    except RecursionError:
        raise ResultInvalid(f"{what} is nested too deep, or contains itself") from None
    except OverflowError:
        raise ResultInvalid(f"{what} has an integer of more than 64 bits; pass it as text") from None
    except UnicodeEncodeError:
        raise ResultInvalid(f"{what} has text with a lone surrogate, which is not a character; replace it") from None
    except MessageError as error:
        raise ResultInvalid(str(error)) from None
    except Exception as error:  # noqa: BLE001 - see the top
        raise ResultInvalid(f"{what} cannot be encoded: {_one_line(error)}") from None
    return data


def decode(
    data: bytes,
    type: type[T],  # noqa: A002 - msgspec's own word
    what: str = "result",
    max_bytes: int = MAX_BYTES,
) -> T:
    """Read MessagePack that nobody vouches for as ``type``.

    Args:
        data: The bytes.
        type: What they should be; ``Any`` for plain data.
        what: How to call it in an error.
        max_bytes: The largest size allowed.

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
    """Plain data as ``type``, strictly: "5" is no int. Keys of a dict may be text, for JSON has no other.

    Raises:
        Exception: if it does not fit: msgspec.ValidationError mostly, or what a type's own code raises.
    """
    return msgspec.convert(value, type, str_keys=True, dec_hook=dec_hook)


def enc_hook(value: Any) -> Any:
    """Turn what msgspec does not know into what it knows.

    Raises:
        TypeError: for types that cannot be sent.
    """
    if isinstance(value, secret_types()):
        raise _SecretInside(type(value).__name__)
    if is_model(type(value)):
        return dumped(value)
    if isinstance(value, PurePath):
        return str(value)
    for base, plain in _SUBCLASSED.items():
        if isinstance(value, base):
            return plain(value)
    raise TypeError(
        f"a value of type {_type_name(type(value))} cannot be sent; "
        "use plain data, a dataclass, a msgspec Struct or a pydantic model"
    )


def dec_hook(type_: Any, value: Any) -> Any:
    """Build what msgspec does not know from plain data.

    Raises:
        ValueError: if the data do not fit a pydantic model.
        TypeError: if they fit nothing.
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
    """Whether this is a class of pydantic models."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(type_, type) and issubclass(type_, base)


def _mark(value: Any) -> Any:
    """As ``enc_hook``, with each secret as an extension that is found again in the plain data."""
    if isinstance(value, secret_types()):
        return msgspec.msgpack.Ext(_SECRET, _encoder.encode(value.get_secret_value()))
    return enc_hook(value)


def _unmarked(value: Any, name: str, names: set[str]) -> Any:
    """Plain data with the secrets in their places; names of the fields that hold them go to ``names``."""
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
            # A strict model takes a date or an enum as text from JSON only, and from JSON is where it comes.
            return model.model_validate_json(_json_encoder.encode(value))
        except Exception:  # noqa: BLE001 - see the top
            raise ValueError(_model_problems(error)) from None


def _model_problems(error: Any) -> str:
    """The first problems of a pydantic ValidationError in one line, without the values."""
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
    except TypeError:  # not hashable, such as Annotated with a list; or no type at all, which is raised again
        return _cached_decoder.__wrapped__(type_)


@lru_cache(maxsize=512)
def _cached_decoder(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_, dec_hook=dec_hook)


# msgspec takes subclasses of dict and list, but of no other builtin.
_SUBCLASSED: dict[type, Any] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
    Mapping: dict,
    Sequence: list,
    Set: list,
}
_NO_NAMES: frozenset[str] = frozenset()
_SECRET = 83
"""Code of the extension that stands for a secret while a message is encoded; it is never sent."""
_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
_marking_encoder = msgspec.msgpack.Encoder(enc_hook=_mark)
_json_encoder = msgspec.json.Encoder(enc_hook=enc_hook)
