"""The ``tool`` decorator, and the record of a tool that it attaches."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, overload

import msgspec

from taskserver.domain.lanes import lane_for
from taskserver.domain.names import check_queue_name, check_tool_name, did_you_mean
from taskserver.domain.retry import DEFAULT_MAX_RETRIES, RetryPolicy
from taskserver.errors import ConfigError, ToolInvalid
from taskserver.tools.docstrings import summary
from taskserver.tools.options import DEFAULT_TIMEOUT, check_timeout, memory_limit, retry_policy
from taskserver.tools.secrets import secret_fields
from taskserver.tools.signature import Signature, signature_of
from taskserver.tools.targets import check_target, function_of, location_of

F = TypeVar("F", bound=Callable[..., Any])

_WAYS = ("async", "thread", "process")


class Tool:
    """What is known of one tool. It is made by ``@tool``; its attributes are for reading.

    Attributes:
        name: By which agents call it.
        description: First paragraph of its docstring.
        target: The decorated function or class.
        timeout: Seconds that one attempt may take; None for no limit.
        retry: How a failed attempt is followed by another.
        queue: The queue its jobs go to unless the submitter names one; None for the submitter's default.
        lane: The lane its jobs go to unless the submitter gives a priority; None for the default.
        runs_in: ``async`` on the event loop, ``thread``, or ``process``.
        max_memory: Bytes that its process may hold; None for no limit.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        *,
        name: str,
        timeout: float | None,
        retry: RetryPolicy,
        queue: str | None,
        lane: str | None,
        runs_in: str,
        max_memory: int | None = None,
    ) -> None:
        self.name = name
        self.description = summary(target.__doc__) or summary(function_of(target).__doc__)
        self.target = target
        self.timeout = timeout
        self.retry = retry
        self.queue = queue
        self.lane = lane
        self.runs_in = runs_in
        self.max_memory = max_memory

    def __repr__(self) -> str:
        return f"<Tool {self.name}, {location_of(self.target)}>"

    def renamed(self, name: str) -> Tool:
        """The same tool by another name."""
        if name == self.name:
            return self
        other = copy.copy(self)
        other.name = check_tool_name(name)
        return other

    @cached_property
    def _signature(self) -> Signature:
        return signature_of(self.target, self.name)

    @cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """A struct type with one field for each argument; the annotations are resolved at first use.

        Raises:
            ToolInvalid: if an annotation cannot be resolved, or names a type that cannot be sent.
        """
        return self._signature.arguments

    @cached_property
    def secret_fields(self) -> frozenset[str]:
        """Names of the fields, also inside its arguments, whose values are declared secret."""
        return secret_fields(self.arguments)

    @property
    def context_parameter(self) -> str | None:
        """Name of the parameter that takes the Context; None if the tool does not ask for it."""
        return self._signature.context_parameter

    @property
    def returns(self) -> Any:
        """The type of the result as annotated; Any if the function does not say."""
        return self._signature.returns


@overload
def tool(target: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    max_retries: int = DEFAULT_MAX_RETRIES,
    retry_delay: float = 2.0,
    retry_cap: float = 300.0,
    exponential_backoff: bool = True,
    queue: str | None = None,
    priority: int | str | None = None,
    runs_in: str | None = None,
    max_memory: int | str | None = None,
) -> Callable[[F], F]: ...
def tool(
    target: F | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    max_retries: int = DEFAULT_MAX_RETRIES,
    retry_delay: float = 2.0,
    retry_cap: float = 300.0,
    exponential_backoff: bool = True,
    queue: str | None = None,
    priority: int | str | None = None,
    runs_in: str | None = None,
    max_memory: int | str | None = None,
) -> F | Callable[[F], F]:
    """Make a function, or a class with a method ``run``, a tool that agents may call by name.

    The decorated object is returned as it is, so it stays callable as before. A parameter annotated with
    ``Context`` receives the context of the attempt; all others are the tool's arguments.

    Args:
        target: What is decorated, when the decorator is used bare.
        name: The tool's name; by default that of the function or class.
        timeout: Seconds that one attempt may take; None for no limit.
        max_retries: Attempts after the first.
        retry_delay: Seconds that the first wait between two attempts may last.
        retry_cap: Seconds that any wait may last.
        exponential_backoff: Whether the bound of the wait doubles with each attempt.
        queue: Where its jobs go unless the submitter says otherwise.
        priority: 1 (most urgent) to 10, or ``high``, ``normal``, ``low``.
        runs_in: ``async`` or ``thread``, by default what the function is made for; or ``process``, for what keeps a
            core busy or must be killed when its time is over.
        max_memory: For ``process``: bytes that the process may hold in all, also as text: ``512MB``, ``1GiB``.

    Raises:
        ToolInvalid: if the declaration cannot become a tool; the message names function, file and remedy.
    """
    asked = _Asked(
        name, timeout, max_retries, retry_delay, retry_cap, exponential_backoff, queue, priority, runs_in, max_memory
    )

    def declare(target: F) -> F:
        target.__tool__ = _record(target, asked)  # type: ignore[attr-defined]
        return target

    return declare if target is None else declare(target)


def declared(target: Any, name: str) -> Tool:
    """The record that ``@tool(name=...)`` would make of a function or class, which stays as it is.

    Raises:
        ToolInvalid: if it cannot become a tool.
    """
    return _record(target, _Asked(name, DEFAULT_TIMEOUT, DEFAULT_MAX_RETRIES, 2.0, 300.0, True, None, None, None, None))


class _Asked(NamedTuple):
    """The decorator's options as they were given."""

    name: str | None
    timeout: float | None
    max_retries: int
    retry_delay: float
    retry_cap: float
    exponential_backoff: bool
    queue: str | None
    priority: int | str | None
    runs_in: str | None
    max_memory: int | str | None


def _record(target: Any, asked: _Asked) -> Tool:
    """The tool that the options make of the target."""
    check_target(target)
    place = location_of(target)
    if isinstance(vars(target).get("__tool__"), Tool):
        raise ToolInvalid(f"{place} is a tool already, {vars(target)['__tool__'].name!r}; decorate it once")
    try:
        name, queue = _text("name", asked.name), _text("queue", asked.queue)
        return Tool(
            target,
            name=check_tool_name(name or target.__name__),
            timeout=check_timeout(place, asked.timeout),
            retry=retry_policy(place, asked.max_retries, asked.retry_delay, asked.retry_cap, asked.exponential_backoff),
            queue=None if queue is None else check_queue_name(queue),
            lane=None if asked.priority is None else lane_for(asked.priority),
            runs_in=_way(target, asked.runs_in),
            max_memory=memory_limit(asked.max_memory, asked.runs_in),
        )
    except ConfigError as error:
        raise ToolInvalid(f"{place}: {error}") from None


def tool_of(target: object) -> Tool | None:
    """The tool that was declared on this function or class; None if it is none.

    A subclass of a tool is none itself until it is decorated too.

    Raises:
        ToolInvalid: if another decorator was put around the tool: which of the two should run?
    """
    if not (inspect.isfunction(target) or inspect.isclass(target)):
        return None
    found = vars(target).get("__tool__")
    if not isinstance(found, Tool):
        return None
    if found.target is not target:
        raise ToolInvalid(f"{location_of(found.target)}: another decorator stands above @tool; put @tool on top")
    return found


def _text(option: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigError(f"{option} must be text, not {value!r}")


def _way(target: Any, asked: str | None) -> str:
    """Where the tool runs, as asked for or as its function is made for."""
    natural = "async" if inspect.iscoroutinefunction(function_of(target)) else "thread"
    if asked is None or asked in (natural, "process"):
        return asked or natural
    if asked not in _WAYS:
        raise ConfigError(f"runs_in={asked!r} is not one of {', '.join(_WAYS)}{did_you_mean(str(asked), _WAYS)}")
    kind = "an async function" if natural == "async" else "a sync function"
    raise ConfigError(f"runs_in={asked!r} does not suit {kind}; leave it out, or declare the function accordingly")
