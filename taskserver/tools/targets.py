"""What ``@tool`` may decorate: which function runs, and whether its parameters can be passed by name.

All of this is known when the decorator runs. The types of the parameters are not: they may refer to names that are
defined further down in the module, so ``signature.py`` resolves them later.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from inspect import Parameter
from typing import Any

from taskserver.errors import ToolInvalid

_REFUSED = {
    Parameter.POSITIONAL_ONLY: "is positional-only, but arguments are passed by name; remove the '/'",
    Parameter.VAR_POSITIONAL: "takes any number of values; use one list parameter instead",
    Parameter.VAR_KEYWORD: "takes any name; declare each parameter, or one dict",
}


def location_of(target: Any) -> str:
    """Name, file and line of a function or class, for error messages."""
    name = getattr(target, "__qualname__", None) or repr(target)
    code = getattr(inspect.unwrap(target), "__code__", None) if callable(target) else None
    if code is not None:
        return f"'{name}' ({code.co_filename}:{code.co_firstlineno})"
    module = getattr(target, "__module__", None) or "unknown"
    file = getattr(sys.modules.get(module), "__file__", None)
    return f"'{name}' ({file or f'module {module}'})"


def function_of(target: Any) -> Callable[..., Any]:
    """The function that runs when the tool does: the target, or its method ``run`` if it is a class.

    Raises:
        ToolInvalid: if the target is something else, or a class that has no ``run``.
    """
    function = getattr(target, "run", None) if inspect.isclass(target) else target
    if inspect.isfunction(function) or (inspect.isclass(target) and inspect.ismethod(function)):
        return function
    if inspect.isclass(target):
        raise ToolInvalid(f"{location_of(target)}: a class needs a method 'run' to be a tool")
    raise ToolInvalid(
        f"@tool decorates a function or a class, not {target!r}; pass options by name, as in @tool(name=...)"
    )


def is_async(target: Any) -> bool:
    """Whether the function of a target is async, also behind wrappers that were made with ``functools.wraps``."""
    return inspect.iscoroutinefunction(inspect.unwrap(function_of(target)))


def check_target(target: Any) -> None:
    """Refuse what cannot be a tool, whatever its types are.

    Raises:
        ToolInvalid: naming function, file and parameter.
    """
    function = function_of(target)
    location = location_of(target)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ToolInvalid(
            f"{location}: a generator cannot be a tool; return the whole result, and send pieces with ctx.emit()"
        )
    for parameter in parameters_of(target):
        if parameter.kind in _REFUSED:
            raise ToolInvalid(f"{location}: parameter '{parameter}' {_REFUSED[parameter.kind]}")
        if parameter.name in ("self", "cls"):
            raise ToolInvalid(f"{location}: a method cannot be a tool; decorate the class, and name the method 'run'")
    if inspect.isclass(target):
        _check_class(target, location)


def parameters_of(target: Any) -> list[Parameter]:
    """The parameters that a caller passes, without the ``self`` of a class's ``run``."""
    parameters = list(inspect.signature(function_of(target)).parameters.values())
    if inspect.isclass(target) and inspect.isfunction(inspect.getattr_static(target, "run")):
        return parameters[1:]
    return parameters


def _check_class(target: type, location: str) -> None:
    if inspect.isabstract(target):
        raise ToolInvalid(f"{location}: an abstract class cannot be a tool; decorate the class that implements it")
    check_parameterless(target)


def check_parameterless(target: type) -> None:
    """Refuse a class that cannot be instantiated without arguments.

    Raises:
        ToolInvalid: naming class and parameters.
    """
    required = _required_parameters(target)
    if required:
        raise ToolInvalid(
            f"{location_of(target)}: a worker instantiates it without arguments, "
            f"so __init__ needs a default for {required}"
        )


def _required_parameters(target: type) -> str:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some classes written in C have no signature
        return ""
    optional = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return ", ".join(
        repr(each.name) for each in parameters if each.default is Parameter.empty and each.kind not in optional
    )
