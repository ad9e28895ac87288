"""Turns a function's annotations into the struct type that checks its arguments."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Mapping
from enum import Enum
from inspect import Parameter
from pathlib import PurePath
from typing import Annotated, Any, NamedTuple, Optional, Union, get_args, get_origin, get_type_hints

import msgspec

from taskserver.errors import ToolInvalid
from taskserver.tools.codec import is_model
from taskserver.tools.context import Context
from taskserver.tools.docstrings import documented_parameters
from taskserver.tools.lifespan import Lifespan, resources_in
from taskserver.tools.secrets import secret_types
from taskserver.tools.targets import function_of, location_of, parameters_of


class Signature(NamedTuple):
    """The arguments and the result of a tool.

    Attributes:
        arguments: A struct type with one field for each argument.
        context_parameter: Name of the parameter that takes the Context; None if there is none.
        returns: The type of the result; Any if it is not annotated.
        resources: The parameters that take a resource of the worker.
    """

    arguments: type[msgspec.Struct]
    context_parameter: str | None
    returns: Any
    resources: Mapping[str, Lifespan[..., Any]]


def signature_of(target: Any, name: str) -> Signature:
    """Resolve the annotations of a function, or of a class's ``run``.

    Args:
        target: The decorated function or class, which ``targets.check_target`` has accepted.
        name: The tool's name, which is also the struct's.

    Raises:
        ToolInvalid: if an annotation cannot be resolved, or is a type that cannot be sent.
    """
    location = location_of(target)
    hints = _hints(target, location)
    parameters = parameters_of(target)
    contexts = [each.name for each in parameters if _takes_context(each, hints)]
    if len(contexts) > 1:
        raise ToolInvalid(f"{location}: {' and '.join(contexts)} both take the Context; remove one")
    resources = resources_in({each.name: hints.get(each.name) for each in parameters})
    given = {*contexts, *resources}
    documented = documented_parameters(target.__doc__) | documented_parameters(function_of(target).__doc__)
    fields = [_field(each, hints, documented, location) for each in parameters if each.name not in given]
    arguments = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, module=target.__module__)
    returns = _awaited(hints.get("return", Any))
    _check_sendable(returns, f"{location}: the result")
    if returns in secret_types():
        raise ToolInvalid(f"{location}: the result is a {returns.__name__}, but results are stored and shown unmasked")
    return Signature(arguments, contexts[0] if contexts else None, returns, resources)


def _hints(target: Any, location: str) -> dict[str, Any]:
    try:
        return get_type_hints(function_of(target), include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError, ValueError) as error:
        raise ToolInvalid(
            f"{location}: could not resolve an annotation: {error}; "
            "define or import the name at the top level of the module, not under TYPE_CHECKING"
        ) from error


def _takes_context(parameter: Parameter, hints: dict[str, Any]) -> bool:
    if parameter.name not in hints:
        return parameter.name == "ctx"
    hint = _bare(hints[parameter.name])
    return hint is Context or (get_origin(hint) in _UNIONS and Context in get_args(hint))


def _field(
    parameter: Parameter, hints: dict[str, Any], documented: dict[str, str], location: str
) -> tuple[str, Any] | tuple[str, Any, Any]:
    """One field for ``msgspec.defstruct``: name, type with its description, and the default if there is one."""
    name, default = parameter.name, parameter.default
    hint = hints.get(name, Any)
    _check_sendable(hint, f"{location}: argument '{name}'")
    description = _described(hint, f"{location}: argument '{name}'") or documented.get(name)
    if default is None and hint is not Any:
        hint = Optional[hint]  # noqa: UP045 - `|` does not work with every annotation, such as a string
    if description:
        hint = Annotated[hint, msgspec.Meta(description=description)]
    if default is Parameter.empty:
        return name, hint
    if isinstance(default, (str, bytes, int, float, Enum)) or default is None:
        return name, hint, default
    # A mutable default would be shared by all jobs.
    mutable = isinstance(default, (list, dict, set, bytearray))
    return name, hint, msgspec.field(default_factory=lambda: copy.copy(default) if mutable else default)


def _described(hint: Any, location: str) -> str | None:
    """The description in an annotation's metadata: a string, or the ``description`` of a Meta or Field.

    Raises:
        ToolInvalid: for constraints of a pydantic Field, which would otherwise be ignored silently.
    """
    found = None
    for item in getattr(hint, "__metadata__", ()):
        if type(item).__module__.startswith("pydantic") and getattr(item, "metadata", None):
            raise ToolInvalid(f"{location}: constraints of pydantic's Field are not supported; use msgspec.Meta")
        text = item if isinstance(item, str) else getattr(item, "description", None)
        found = text if isinstance(text, str) else found
    return found


def _check_sendable(hint: Any, what: str) -> None:
    """Refuse a type that neither msgspec nor the codec's hooks can build from plain data."""
    try:
        msgspec.msgpack.Decoder(hint)
        foreign = _foreign(msgspec.inspect.type_info(hint), set())
    except (TypeError, NameError, AttributeError, ValueError) as error:
        instead = "; use msgspec Structs with tag=True, which can be told apart" if "unions" in str(error) else ""
        raise ToolInvalid(f"{what} is of type {hint}, which cannot be sent: {error}{instead}") from error
    if foreign is not None:
        raise ToolInvalid(
            f"{what} is of type {foreign.__module__}.{foreign.__qualname__}, which cannot be sent; "
            "use plain data, a list, a dict, a dataclass, a msgspec Struct or a pydantic model"
        )


def _foreign(node: Any, seen: set[Any]) -> Any:
    """The first type inside ``node``, a tree of ``msgspec.inspect``, that the codec does not know; or None."""
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


def _awaited(hint: Any) -> Any:
    """The type of a result that is awaited: of a sync function that returns a coroutine, the coroutine's."""
    origin = get_origin(hint)
    if inspect.isclass(origin) and issubclass(origin, Awaitable):
        return get_args(hint)[-1]
    return hint


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


_UNIONS = (Union, type(int | str))
