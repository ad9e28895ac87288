"""The ``tool`` decorator, and the record of a tool that it attaches."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, overload

import msgspec

from taskserver.domain.lanes import lane_for
from taskserver.domain.names import check_queue_name, check_tool_name, did_you_mean
from taskserver.domain.retry import DEFAULT_MAX_RETRIES, RetryPolicy
from taskserver.errors import ConfigError, ToolInvalid
from taskserver.tools.docstrings import summary
from taskserver.tools.lifespan import Lifespan
from taskserver.tools.options import DEFAULT_TIMEOUT, check_timeout, memory_limit, retry_policy
from taskserver.tools.secrets import secret_fields
from taskserver.tools.signature import Signature, signature_of
from taskserver.tools.targets import check_target, function_of, location_of

F = TypeVar("F", bound=Callable[..., Any])

_RUNS_IN = ("async", "thread", "process")


class Tool:
    """The record of one tool, made by ``@tool``. Its attributes are read-only.

    Attributes:
        name: The name by which agents call it.
        description: First paragraph of its docstring.
        target: The decorated function or class.
        timeout: Maximum seconds for one attempt; None for no limit.
        retry: How often and when a failed attempt is tried again.
        queue: Queue for its jobs unless the submitter names one; None for the submitter's default.
        lane: Lane for its jobs unless the submitter gives a priority; None for the default.
        runs_in: ``async`` (on the event loop), ``thread`` or ``process``.
        max_memory: Maximum memory of its process in bytes; None for no limit.
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
        """The same tool under another name."""
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
        """A struct type with one field for each argument; annotations are resolved on first use.

        Raises:
            ToolInvalid: if an annotation cannot be resolved, or is a type that cannot be sent.
        """
        return self._signature.arguments

    @cached_property
    def secret_fields(self) -> frozenset[str]:
        """Names of the arguments, and of fields inside them, whose values are declared secret."""
        return secret_fields(self.arguments)

    @property
    def context_parameter(self) -> str | None:
        """Name of the parameter that takes the Context; None if there is none."""
        return self._signature.context_parameter

    @property
    def resources(self) -> Mapping[str, Lifespan[..., Any]]:
        """The resources of the worker that the tool takes, by parameter."""
        return self._signature.resources

    @property
    def returns(self) -> Any:
        """The annotated type of the result; Any if there is no annotation."""
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
    """Make a function, or a class with a method ``run``, a tool that agents can call by name.

    The decorated object is returned unchanged, so it can be called as before. A parameter annotated with ``Context``
    receives the context of the attempt; all others are the tool's arguments.

    Args:
        target: The decorated function or class, if the decorator is used without parentheses.
        name: The tool's name; by default that of the function or class.
        timeout: Maximum seconds for one attempt; None for no limit.
        max_retries: Maximum number of attempts after the first.
        retry_delay: Maximum seconds for the first wait between two attempts.
        retry_cap: Maximum seconds for any wait.
        exponential_backoff: Whether the maximum wait doubles with each attempt.
        queue: Queue for its jobs unless the submitter names one.
        priority: 1 (most urgent) to 10, or ``high``, ``normal`` or ``low``.
        runs_in: ``async`` for async functions and ``thread`` for others, which are the defaults; or ``process``, for
            tools that keep a core busy or must be killed after their timeout.
        max_memory: For ``process``: maximum memory of the process, in bytes or as text such as ``512MB`` or ``1GiB``.

    Raises:
        ToolInvalid: if this cannot be a tool; the message names the function and file, and says what to change.
    """
    options = _Options(
        name, timeout, max_retries, retry_delay, retry_cap, exponential_backoff, queue, priority, runs_in, max_memory
    )

    def declare(target: F) -> F:
        target.__tool__ = _record(target, options)  # type: ignore[attr-defined]
        return target

    return declare if target is None else declare(target)


def tool_from(target: Any, name: str) -> Tool:
    """The record that ``@tool(name=...)`` would make for a function or class, which is not changed.

    Raises:
        ToolInvalid: if it cannot be a tool.
    """
    return _record(
        target, _Options(name, DEFAULT_TIMEOUT, DEFAULT_MAX_RETRIES, 2.0, 300.0, True, None, None, None, None)
    )


class _Options(NamedTuple):
    """The decorator's options as given."""

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


def _record(target: Any, options: _Options) -> Tool:
    """Check the target and the options, and make the record."""
    check_target(target)
    location = location_of(target)
    if isinstance(vars(target).get("__tool__"), Tool):
        raise ToolInvalid(f"{location} is already the tool {vars(target)['__tool__'].name!r}; decorate it only once")
    try:
        name, queue = _text("name", options.name), _text("queue", options.queue)
        return Tool(
            target,
            name=check_tool_name(name or target.__name__),
            timeout=check_timeout(location, options.timeout),
            retry=retry_policy(
                location, options.max_retries, options.retry_delay, options.retry_cap, options.exponential_backoff
            ),
            queue=None if queue is None else check_queue_name(queue),
            lane=None if options.priority is None else lane_for(options.priority),
            runs_in=_runs_in(target, options.runs_in),
            max_memory=memory_limit(options.max_memory, options.runs_in),
        )
    except ConfigError as error:
        raise ToolInvalid(f"{location}: {error}") from None


def tool_of(target: object) -> Tool | None:
    """The tool that was declared on this function or class; None if there is none.

    A subclass of a tool is not a tool unless it is decorated itself.

    Raises:
        ToolInvalid: if another decorator is above ``@tool``: it would not take effect.
    """
    if not (inspect.isfunction(target) or inspect.isclass(target)):
        return None
    found = vars(target).get("__tool__")
    if not isinstance(found, Tool):
        return None
    if found.target is not target:
        raise ToolInvalid(f"{location_of(found.target)}: another decorator is above @tool; move @tool to the top")
    return found


def _text(option: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigError(f"{option} must be a string, not {value!r}")


def _runs_in(target: Any, chosen: str | None) -> str:
    """Where the tool runs: as chosen, or on the event loop for async functions and in a thread for others."""
    natural = "async" if inspect.iscoroutinefunction(function_of(target)) else "thread"
    if chosen is None or chosen in (natural, "process"):
        return chosen or natural
    if chosen not in _RUNS_IN:
        hint = did_you_mean(str(chosen), _RUNS_IN)
        raise ConfigError(f"runs_in must be one of {', '.join(_RUNS_IN)}, not {chosen!r}{hint}")
    kind = "an async function" if natural == "async" else "a sync function"
    raise ConfigError(f"runs_in={chosen!r} is not possible for {kind}; remove it, or use 'process'")
