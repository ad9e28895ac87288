"""Resources of a worker: opened before its first job, passed to tools that name them, and closed after its last job."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from taskserver.errors import ToolInvalid
from taskserver.tools.lifetime import close, explaining
from taskserver.tools.targets import location_of

P = ParamSpec("P")
T = TypeVar("T")


class Lifespan(Generic[P, T]):
    """What ``@worker_lifespan`` makes of a function. Call it to use the resource without a worker, in ``async with``.

    Attributes:
        function: The decorated function.
    """

    def __init__(self, function: Callable[P, AsyncIterator[T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self._manager: Callable[P, AbstractAsyncContextManager[T]] = asynccontextmanager(function)

    def __repr__(self) -> str:
        return f"<Lifespan {location_of(self.function)}>"

    def __call__(self, *args: P.args, **values: P.kwargs) -> AbstractAsyncContextManager[T]:
        """The context manager: it opens the resource, and closes it at the end."""
        return self._manager(*args, **values)

    @cached_property
    def needs(self) -> dict[str, Lifespan[..., Any]]:
        """The resources that it is opened with, by parameter.

        Raises:
            ToolInvalid: if an annotation cannot be resolved.
        """
        try:
            return resources_in(get_type_hints(self.function, include_extras=True))
        except (NameError, AttributeError, TypeError, SyntaxError, ValueError) as error:
            raise ToolInvalid(f"{location_of(self.function)}: could not resolve an annotation: {error}") from error


def worker_lifespan(function: Callable[P, AsyncIterator[T]]) -> Lifespan[P, T]:
    """Make an async generator function, which yields once, a resource of each worker that loads its module.

    ::

        @worker_lifespan
        async def database() -> AsyncIterator[Pool]:
            async with create_pool() as pool:
                yield pool

        @tool
        async def lookup(name: str, pool: Annotated[Pool, database]) -> str: ...

    Raises:
        ToolInvalid: if it is no such function.
    """
    location = location_of(function)
    if not inspect.isasyncgenfunction(function):
        raise ToolInvalid(f"{location}: @worker_lifespan decorates an async function that yields the resource once")
    return Lifespan(function)


def resources_in(hints: Mapping[str, Any]) -> dict[str, Lifespan[..., Any]]:
    """The parameters that take a resource: those annotated ``Annotated[type, the decorated function]``."""
    return {
        name: item
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
        for item in get_args(hint)[1:]
        if isinstance(item, Lifespan)
    }


class Resources:
    """Everything that is open in a worker, or in a tool process.

    Args:
        stack: Closes it, last first.
        given: Values of resources that are not opened here, nor closed.
    """

    def __init__(self, stack: AsyncExitStack, given: Mapping[Lifespan[..., Any], Any] | None = None) -> None:
        self.stack = stack
        self._values: dict[Lifespan[..., Any], Any] = dict(given or {})
        self._opening: set[Lifespan[..., Any]] = set()

    async def by_parameter(self, needs: Mapping[str, Lifespan[..., Any]]) -> dict[str, Any]:
        """The values of resources; those that are not open yet are opened.

        Raises:
            ToolInvalid: if one could not be opened.
        """
        return {name: await self.value(lifespan) for name, lifespan in needs.items()}

    async def value(self, lifespan: Lifespan[..., Any]) -> Any:
        """The value of a resource, which is opened once, after those that it needs.

        Raises:
            ToolInvalid: if it could not be opened, or needs itself.
        """
        if lifespan in self._opening:
            raise ToolInvalid(f"{location_of(lifespan.function)} needs itself, directly or through others")
        if lifespan not in self._values:
            self._opening.add(lifespan)
            try:
                self._values[lifespan] = await self._opened(lifespan)
            finally:
                self._opening.discard(lifespan)
        return self._values[lifespan]

    async def _opened(self, lifespan: Lifespan[..., Any]) -> Any:
        needed = await self.by_parameter(lifespan.needs)
        with explaining(lifespan.function, "opened"):
            manager = lifespan(**needed)
            value = await manager.__aenter__()
        self.stack.push_async_callback(close, lifespan.function, partial(manager.__aexit__, None, None, None))
        return value
