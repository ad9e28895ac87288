"""From a function's annotations to the struct that its arguments are checked with."""

from __future__ import annotations

import copy
import inspect
from enum import Enum
from inspect import Parameter
from pathlib import PurePath
from typing import Annotated, Any, NamedTuple, Optional, Union, get_args, get_origin, get_type_hints

import msgspec

from taskserver.errors import ToolInvalid
from taskserver.tools.codec import is_model
from taskserver.tools.context import Context
from taskserver.tools.docstrings import documented_parameters
from taskserver.tools.secrets import secret_types
from taskserver.tools.targets import function_of, location_of, parameters_of


class Signature(NamedTuple):
    """What a tool takes and gives.

    Attributes:
        arguments: A struct type with one field for each argument.
        context_parameter: Name of the parameter that takes the Context, if one does.
        returns: The type of the result; Any if the function does not say.
    """

    arguments: type[msgspec.Struct]
    context_parameter: str | None
    returns: Any


def signature_of(target: Any, name: str) -> Signature:
    """Resolve the annotations of a function, or of a class's ``run``.

    Args:
        target: What was decorated; ``targets.check_target`` has passed it.
        name: The tool's name, which the struct gets too.

    Raises:
        ToolInvalid: if an annotation cannot be resolved, or names a type that cannot be sent.
    """
    place = location_of(target)
    hints = _hints(target, place)
    parameters = parameters_of(target)
    contexts = [each.name for each in parameters if _takes_context(each, hints)]
    if len(contexts) > 1:
        raise ToolInvalid(f"{place}: {' and '.join(contexts)} both take the Context; keep one")
    documented = documented_parameters(target.__doc__) | documented_parameters(function_of(target).__doc__)
    fields = [_field(each, hints, documented, place) for each in parameters if each.name not in contexts]
    arguments = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, module=target.__module__)
    returns = hints.get("return", Any)
    _check_sendable(returns, f"{place}: what it returns")
    if returns in secret_types():
        raise ToolInvalid(f"{place}: it returns a {returns.__name__}, but results are kept and shown in clear")
    return Signature(arguments, contexts[0] if contexts else None, returns)


def _hints(target: Any, place: str) -> dict[str, Any]:
    try:
        return get_type_hints(function_of(target), include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError, ValueError) as error:
        raise ToolInvalid(
            f"{place}: an annotation cannot be resolved: {error}; "
            "define or import the name at the top level of the module, not under TYPE_CHECKING"
        ) from error


def _takes_context(parameter: Parameter, hints: dict[str, Any]) -> bool:
    if parameter.name not in hints:
        return parameter.name == "ctx"
    hint = _bare(hints[parameter.name])
    return hint is Context or (get_origin(hint) in _UNIONS and Context in get_args(hint))


def _field(
    parameter: Parameter, hints: dict[str, Any], documented: dict[str, str], place: str
) -> tuple[str, Any] | tuple[str, Any, Any]:
    """One field for ``msgspec.defstruct``: name, type with its description, and the default if there is one."""
    name, default = parameter.name, parameter.default
    hint = hints.get(name, Any)
    _check_sendable(hint, f"{place}: argument '{name}'")
    description = _described(hint, f"{place}: argument '{name}'") or documented.get(name)
    if default is None and hint is not Any:
        hint = Optional[hint]  # noqa: UP045 - `|` does not take every annotation, such as a text
    if description:
        hint = Annotated[hint, msgspec.Meta(description=description)]
    if default is Parameter.empty:
        return name, hint
    if isinstance(default, (str, bytes, int, float, Enum)) or default is None:
        return name, hint, default
    # Python would share a mutable default among all calls; here it would be shared among jobs.
    mutable = isinstance(default, (list, dict, set, bytearray))
    return name, hint, msgspec.field(default_factory=lambda: copy.copy(default) if mutable else default)


def _described(hint: Any, place: str) -> str | None:
    """The description among an annotation's metadata: a text, or the ``description`` of a Meta or Field.

    Raises:
        ToolInvalid: for constraints of a pydantic Field, which would otherwise be ignored in silence.
    """
    found = None
    for item in getattr(hint, "__metadata__", ()):
        if type(item).__module__.startswith("pydantic") and getattr(item, "metadata", None):
            raise ToolInvalid(f"{place}: constraints of pydantic's Field are not read; use msgspec.Meta")
        text = item if isinstance(item, str) else getattr(item, "description", None)
        found = text if isinstance(text, str) else found
    return found


def _check_sendable(hint: Any, what: str) -> None:
    """Refuse a type that neither msgspec nor the codec's hooks can make from plain data."""
    try:
        msgspec.msgpack.Decoder(hint)
        foreign = _foreign(msgspec.inspect.type_info(hint), set())
    except (TypeError, NameError, AttributeError, ValueError) as error:
        raise ToolInvalid(f"{what} is of type {hint}, which cannot be sent: {error}") from error
    if foreign is not None:
        raise ToolInvalid(
            f"{what} is of type {foreign.__module__}.{foreign.__qualname__}, which cannot be sent; "
            "use plain data, a list, a dict, a dataclass, a msgspec Struct or a pydantic model"
        )


def _foreign(node: Any, seen: set[Any]) -> Any:
    """The first type inside ``node``, a tree of ``msgspec.inspect``, that only its author could build; or None."""
    if isinstance(node, (tuple, list)):
        return next((found for item in node if (found := _foreign(item, seen)) is not None), None)
    if not isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)):
        return None
    cls = getattr(node, "cls", None)
    if isinstance(node, msgspec.inspect.CustomType):
        return None if _is_known(cls) else cls
    if cls is not None:
        if cls in seen:  # a struct that contains itself
            return None
        seen.add(cls)
    return _foreign([getattr(node, name) for name in node.__struct_fields__], seen)


def _is_known(cls: Any) -> bool:
    return (
        cls is object or is_model(cls) or cls in secret_types() or (inspect.isclass(cls) and issubclass(cls, PurePath))
    )


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


_UNIONS = (Union, type(int | str))
