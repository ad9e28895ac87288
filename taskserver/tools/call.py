"""Calls one tool: checks the arguments, with errors that tell a model what to change, and runs it in this process."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import chain, islice
from typing import Any

import msgspec

from taskserver.domain.names import did_you_mean
from taskserver.domain.secrets import Redactor, SecretNames, secret_values
from taskserver.errors import ArgumentsInvalid
from taskserver.tools.codec import convert, encode_message
from taskserver.tools.context import Context
from taskserver.tools.lifespan import Resources
from taskserver.tools.lifetime import opened
from taskserver.tools.secrets import reveal_secrets
from taskserver.tools.targets import is_async
from taskserver.tools.threads import call_in_thread, run_in_thread
from taskserver.tools.tool import Tool

MOST_PROBLEMS = 10
"""Maximum number of problems in one error; a call may have a hundred thousand unknown arguments."""
NAME_CHARACTERS = 100
"""Maximum length of an argument's name that is shown."""
MOST_CHARACTERS = 4_000
"""Maximum length of such an error; an enum may have a hundred thousand values."""

_PATH = re.compile(r" - at (`key` in )?`\$(.*)`$")


class Call:
    """Calls one tool in this process. The class of a class tool is instantiated once, by ``open``.

    Raises:
        ToolInvalid: if an annotation cannot be resolved.
    """

    __slots__ = ("_call", "_context_parameter", "_in_thread", "_resources", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._context_parameter = tool.context_parameter
        self._call: Callable[..., Any] = tool.target
        self._in_thread = tool.runs_in == "thread"
        self._resources: dict[str, Any] = {}

    async def open(self, resources: Resources) -> None:
        """Open what the tool needs: its resources, and the instance of its class.

        Raises:
            ToolInvalid: if one of them could not be opened.
        """
        self._resources = await resources.by_parameter(self._tool.resources)
        await self.instantiate(resources.stack)

    async def instantiate(self, stack: AsyncExitStack) -> None:
        """Instantiate a class tool where its jobs run; what closes it is put on the stack.

        Raises:
            ToolInvalid: if the class could not be instantiated.
        """
        target = self._tool.target
        if inspect.isclass(target) and self._in_thread and not is_async(target):
            self._call = (await opened(target, stack, there=self._in_new_thread)).run
        elif inspect.isclass(target):
            self._call = (await opened(target, stack)).run

    async def _in_new_thread(self, call: Callable[[], Any]) -> Any:
        return await call_in_thread(call, f"tool {self._tool.name}")

    async def run(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Check the arguments, call the tool on the event loop or in a thread, and return what it returns.

        An awaitable that it returns is awaited on the event loop, wherever it comes from.

        Raises:
            ArgumentsInvalid: if they do not match the tool's signature; the tool was not called.
        """
        values = self.values(arguments, context)
        if self._in_thread:
            result = await run_in_thread(partial(self._call, **values), context)
        else:
            result = self._call(**values)
        while hasattr(type(result), "__await__"):  # as ``settled`` does, without another coroutine
            result = await result
        return result

    def values(self, arguments: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """The checked arguments by name, and the context and the resources that the tool takes.

        Raises:
            ArgumentsInvalid: if they do not match the tool's signature.
        """
        values = msgspec.structs.asdict(check(self._tool, arguments))
        if self._context_parameter is not None:
            values[self._context_parameter] = context
        if self._resources:
            values |= self._resources
        return values


def check(tool: Tool, arguments: Mapping[str, Any]) -> msgspec.Struct:
    """The arguments as an instance of ``tool.arguments``, with the defaults filled in.

    Types are checked strictly: "5" is not an int, but 5 is a float.

    Raises:
        ArgumentsInvalid: naming every argument that is missing, unknown or of the wrong type.
        ToolInvalid: if the tool's annotations cannot be resolved.
    """
    expected = tool.arguments
    try:
        return convert(arguments, expected)
    except Exception as error:  # noqa: BLE001 - a type's own code may raise anything
        return _check_again(tool, arguments, error)


def _check_again(tool: Tool, arguments: Mapping[str, Any], error: Exception) -> msgspec.Struct:
    """Allow secrets where the tool takes plain text; otherwise say what is wrong, without revealing secrets."""
    values: list[str] = []
    with suppress(RecursionError):
        arguments = reveal_secrets(arguments, values)
    with suppress(Exception):  # as a worker receives it: numbers of numpy, for example, are plain ones there
        return convert(msgspec.msgpack.decode(encode_message(arguments)[0]), tool.arguments)
    problems = "; ".join(islice(_problems(tool, arguments), MOST_PROBLEMS)) or _readable("arguments", error)
    redact = Redactor([*values, *secret_values(arguments, SecretNames(tool.secret_fields))])
    raise ArgumentsInvalid(f"tool {tool.name!r}: {_cut(redact(problems))}") from None


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def _problems(tool: Tool, arguments: object) -> Iterator[str]:
    if not isinstance(arguments, Mapping):
        return iter([f"expected an object with the arguments by name, got {type(arguments).__name__}"])
    fields = msgspec.structs.fields(tool.arguments)
    return chain(_missing(fields, arguments), _misfits(fields, arguments), _unknown(fields, arguments))


def _missing(fields: tuple[Any, ...], arguments: Mapping[Any, Any]) -> Iterator[str]:
    return (f"missing argument {each.name!r}" for each in fields if each.required and each.name not in arguments)


def _misfits(fields: tuple[Any, ...], arguments: Mapping[Any, Any]) -> Iterator[str]:
    for field in fields:
        if field.name in arguments:
            try:
                convert(arguments[field.name], field.type)
            except Exception as error:  # noqa: BLE001 - a type's own code may raise anything
                yield _readable(f"argument {field.name!r}", error) + _choices(field.type, arguments[field.name])


def _unknown(fields: tuple[Any, ...], arguments: Mapping[Any, Any]) -> Iterator[str]:
    names = [field.name for field in fields]
    for name in arguments:
        if not isinstance(name, str):
            yield f"argument names must be strings, got {type(name).__name__}"
        elif name not in names:
            known = f"; the tool takes {', '.join(names)}" if names else "; the tool takes no arguments"
            # Not cut: it may be a secret, of which a part would not be masked.
            shown = repr(name) if len(name) <= NAME_CHARACTERS else f"with a name of {len(name):,} characters"
            yield f"unknown argument {shown}{did_you_mean(name[:NAME_CHARACTERS], names) or known}"


def _readable(what: str, error: BaseException) -> str:
    """An error of msgspec as a sentence: "argument 'pages': expected int, got str, at [2].number"."""
    if isinstance(error, RecursionError):
        return f"{what}: nested too deeply"
    if isinstance(error, UnicodeError):
        return f"{what}: contains a lone surrogate, which is not a valid character; replace it"
    text = " ".join(str(error).split())
    path = _PATH.search(
        text, max(0, text.rfind(" - at `"))
    )  # what is before it may contain a value, as long as it likes
    text = (text[: path.start()] if path else text).replace("`", "")
    where = ""
    if path:
        where = f", in a key of {path[2].lstrip('.') or 'the object'}" if path[1] else f", at {path[2].lstrip('.')}"
    return f"{what}: {text[:1].lower()}{text[1:]}{where}"


def _choices(type_: Any, value: Any) -> str:
    """The values that an enum or Literal allows, as the end of a sentence."""
    info = msgspec.inspect.type_info(type_)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    allowed: list[Any] = []
    for option in options:
        if isinstance(option, msgspec.inspect.EnumType):
            allowed += [member.value for member in option.cls]
        elif isinstance(option, msgspec.inspect.LiteralType):
            allowed += option.values
    return f"; use one of {', '.join(map(repr, allowed))}" if allowed else ""
