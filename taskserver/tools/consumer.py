"""Consumers: what a worker does with each type of message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from taskserver.domain.messages import BaseMessage, ToolExecutionMessage
from taskserver.domain.names import did_you_mean
from taskserver.domain.retry import RetryPolicy
from taskserver.errors import MessageInvalid, ToolInvalid, ToolNotFound
from taskserver.tools.codec import dec_hook
from taskserver.tools.context import Context
from taskserver.tools.failures import is_permanent
from taskserver.tools.lifespan import Resources
from taskserver.tools.options import DEFAULT_TIMEOUT, check_timeout
from taskserver.tools.runner import runner_of
from taskserver.tools.secrets import secret_fields
from taskserver.tools.targets import location_of
from taskserver.tools.tool import Tool

M = TypeVar("M", bound=BaseMessage)


class RunPlan(NamedTuple):
    """How to run a message, unless its submitter chose otherwise.

    Attributes:
        name: Name of the tool or message type, for status, metrics and logs.
        timeout: Maximum seconds for one attempt; None for no limit.
        retry: How often and when a failed attempt is tried again.
        secrets: Names of fields whose values are masked in errors and logs, besides those whose names look secret.
    """

    name: str
    timeout: float | None
    retry: RetryPolicy
    secrets: frozenset[str] = frozenset()


def _is_generic(cls: type) -> bool:
    return bool(getattr(cls, "__parameters__", ()))


def _message_type(cls: type[BaseConsumer[Any]], location: str) -> type[BaseMessage]:
    """The type in the brackets of a base class, or the one that is inherited or set."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        if isinstance(get_origin(base), type) and issubclass(get_origin(base), BaseConsumer):
            (found, *_) = get_args(base)
            if isinstance(found, type) and issubclass(found, BaseMessage):
                return found
            raise ToolInvalid(
                f"{location}: {found!r} in the brackets is not a subclass of BaseMessage that is defined above it"
            )
    inherited: type[BaseMessage] | None = getattr(cls, "message_type", None)
    if inherited is None:
        raise ToolInvalid(f"{location}: no message type; write class {cls.__name__}(BaseConsumer[MyMessage])")
    return inherited


class BaseConsumer(ABC, Generic[M]):
    """Processes messages of one type. Subclass it with the type, and have the worker load the module.

    ::

        class MailConsumer(BaseConsumer[Mail]):
            timeout = 30

            async def process(self, message: Mail, ctx: Context) -> str: ...

    Attributes:
        timeout: Maximum seconds for one attempt; None for no limit.
        retry: How often and when a failed attempt is tried again.
        message_type: The message type, taken from the brackets.
    """

    timeout: float | None = DEFAULT_TIMEOUT
    retry: RetryPolicy = RetryPolicy()
    message_type: ClassVar[type[BaseMessage]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Find the message type.

        Raises:
            ToolInvalid: if there is none in the brackets, or ``timeout`` or ``retry`` is invalid.
        """
        super().__init_subclass__(**options)
        location = location_of(cls)
        if not _is_generic(cls):
            cls.message_type = _message_type(cls, location)
        check_timeout(location, cls.timeout)
        if not isinstance(cls.retry, RetryPolicy):
            raise ToolInvalid(f"{location}: retry must be a RetryPolicy, not {cls.retry!r}")

    @abstractmethod
    async def process(self, message: M, ctx: Context) -> Any:
        """Do the work of one attempt. The return value is the job's result; an exception fails the attempt."""

    async def on_success(self, result: Any, message: M) -> None:
        """Called when the attempt has succeeded, just before that is recorded. Does nothing by default.

        If the worker dies in between, the job runs again, so this may be called more than once for a job.
        """

    async def on_failure(self, error: BaseException, message: M) -> None:
        """Called just before the job is recorded as failed or dead, not when another attempt follows.

        Does nothing by default. Not called when the broker itself ends a job because its workers died.
        """

    def should_retry(self, error: BaseException, message: M) -> bool:
        """Whether to try again after this error; by default not after errors that would only happen again."""
        return not is_permanent(error)

    def decode(self, body: bytes | msgspec.Raw) -> M:
        """Decode the message from untrusted bytes whose cost was checked with the envelope's.

        Raises:
            MessageInvalid: if they are not a message of this type.
        """
        try:
            message: M = self._decoder.decode(body)
        except Exception as error:  # noqa: BLE001 - a type's own code may raise anything
            name = self.message_type.message_type
            raise MessageInvalid(f"not a message of type {name!r}: {error}") from None
        return message

    def plan(self, message: M) -> RunPlan:
        """How to run this message."""
        return RunPlan(self.message_type.message_type, self.timeout, self.retry, secret_fields(self.message_type))

    @cached_property
    def has_success_hook(self) -> bool:
        """Whether ``on_success`` is overridden: the default one does nothing, and need not be called."""
        return type(self).on_success is not BaseConsumer.on_success

    @cached_property
    def _decoder(self) -> msgspec.msgpack.Decoder[Any]:
        return msgspec.msgpack.Decoder(self.message_type, dec_hook=dec_hook)


class ToolExecutionConsumer(BaseConsumer[ToolExecutionMessage]):
    """Runs the given tools, and no others. ``open`` it before the first message.

    Args:
        tools: The tools by name.

    Raises:
        ToolInvalid: if one of them cannot be run.
    """

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._runners = {name: runner_of(tool) for name, tool in tools.items()}
        self._plans = {
            name: RunPlan(name, tool.timeout, tool.retry, tool.secret_fields) for name, tool in tools.items()
        }

    async def open(self, resources: Resources) -> None:
        """Open what the tools need: resources, and instances of classes.

        Raises:
            ToolInvalid: if something could not be opened.
        """
        for runner in self._runners.values():
            await runner.open(resources)

    async def process(self, message: ToolExecutionMessage, ctx: Context) -> Any:
        """Check the arguments and run the tool: on the event loop, in a thread or in a process, as declared.

        Raises:
            ToolNotFound: if there is no such tool.
            ArgumentsInvalid: if the arguments do not match the tool's signature; the tool was not called.
        """
        runner = self._runners.get(message.tool_name)
        if runner is None:
            raise tool_not_found(message.tool_name, self._runners)
        return await runner.run(message.tool_args, ctx)

    def plan(self, message: ToolExecutionMessage) -> RunPlan:
        """How to run the tool that the message names.

        Raises:
            ToolNotFound: if there is no such tool.
        """
        plan = self._plans.get(message.tool_name)
        if plan is None:
            raise tool_not_found(message.tool_name, self._plans)
        return plan


def no_consumer(tag: str, known: Iterable[str]) -> MessageInvalid:
    """The error for a message type that no consumer is registered for, by the type's tag."""
    return MessageInvalid(
        f"no consumer is registered for message type {tag[:200]!r}, only for {', '.join(sorted(known))}"
    )


def tool_not_found(name: str, known: Mapping[str, Any]) -> ToolNotFound:
    """The error for a tool that is not among the known ones."""
    hint = did_you_mean(name[:200], known) or "; load the module that declares it"
    return ToolNotFound(f"unknown tool {name[:200]!r}{hint}")
