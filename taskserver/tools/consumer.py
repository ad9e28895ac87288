"""Consumers: what a worker does with each type of message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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
from taskserver.tools.options import DEFAULT_TIMEOUT, check_timeout
from taskserver.tools.runner import runner_of
from taskserver.tools.secrets import secret_fields
from taskserver.tools.targets import location_of
from taskserver.tools.tool import Tool

M = TypeVar("M", bound=BaseMessage)


class RunPlan(NamedTuple):
    """How a message is to be run, unless its submitter said otherwise.

    Attributes:
        name: Of the tool, or of the message type: for status, metrics and logs.
        timeout: Seconds that one attempt may take; None for no limit.
        retry: How a failed attempt is followed by another.
        secrets: Names of fields whose values are kept out of errors and logs, besides those that look so.
    """

    name: str
    timeout: float | None
    retry: RetryPolicy
    secrets: frozenset[str] = frozenset()


def _is_generic(cls: type) -> bool:
    return bool(getattr(cls, "__parameters__", ()))


def _message_type(cls: type[BaseConsumer[Any]], place: str) -> type[BaseMessage]:
    """The type in the brackets of a base class, or the one that is inherited or set."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        if isinstance(get_origin(base), type) and issubclass(get_origin(base), BaseConsumer):
            (found, *_) = get_args(base)
            if isinstance(found, type) and issubclass(found, BaseMessage):
                return found
            raise ToolInvalid(f"{place}: {found!r} in the brackets is not a BaseMessage class defined above it")
    inherited: type[BaseMessage] | None = getattr(cls, "message_type", None)
    if inherited is None:
        raise ToolInvalid(f"{place}: says no message type; write class {cls.__name__}(BaseConsumer[MyMessage])")
    return inherited


class BaseConsumer(ABC, Generic[M]):
    """Processes one type of message. Subclass it with the type, and tell the worker the module.

    ::

        class MailConsumer(BaseConsumer[Mail]):
            timeout = 30

            async def process(self, message: Mail, ctx: Context) -> str: ...

    Attributes:
        timeout: Seconds that one attempt may take; None for no limit.
        retry: How a failed attempt is followed by another.
        message_type: The type of message, taken from the brackets.
    """

    timeout: float | None = DEFAULT_TIMEOUT
    retry: RetryPolicy = RetryPolicy()
    message_type: ClassVar[type[BaseMessage]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Find the message type.

        Raises:
            ToolInvalid: if there is none in brackets, or ``timeout`` or ``retry`` cannot work.
        """
        super().__init_subclass__(**options)
        place = location_of(cls)
        if not _is_generic(cls):
            cls.message_type = _message_type(cls, place)
        check_timeout(place, cls.timeout)
        if not isinstance(cls.retry, RetryPolicy):
            raise ToolInvalid(f"{place}: retry must be a RetryPolicy, not {cls.retry!r}")

    @abstractmethod
    async def process(self, message: M, ctx: Context) -> Any:
        """Do the work of one attempt. What it returns is the job's result; an error fails the attempt."""

    async def on_success(self, result: Any, message: M) -> None:
        """Called when the attempt has succeeded, just before that is recorded; by default nothing.

        A worker that dies in between runs the job again, so this may be called more than once for a job.
        """

    async def on_failure(self, error: BaseException, message: M) -> None:
        """Called when the job is about to be recorded as failed or dead, not when another attempt follows.

        By default nothing. Not called for a job that the broker ends itself because its workers died.
        """

    def should_retry(self, error: BaseException, message: M) -> bool:
        """Whether a failed attempt may be tried again: not if the same message must fail the same way."""
        return not is_permanent(error)

    def decode(self, body: bytes | msgspec.Raw) -> M:
        """Read the message from bytes that nobody vouches for; their cost was checked with the envelope's.

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
        """Whether ``on_success`` is its own: the usual one does nothing, and need not be called."""
        return type(self).on_success is not BaseConsumer.on_success

    @cached_property
    def _decoder(self) -> msgspec.msgpack.Decoder[Any]:
        return msgspec.msgpack.Decoder(self.message_type, dec_hook=dec_hook)


class ToolExecutionConsumer(BaseConsumer[ToolExecutionMessage]):
    """Runs the tools it was made with, and no others.

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

    async def process(self, message: ToolExecutionMessage, ctx: Context) -> Any:
        """Check the arguments and run the tool: on the event loop, in a thread or in a process, as it wants.

        Raises:
            ToolNotFound: if the tool is not among those it was made with.
            ArgumentsInvalid: if the arguments do not fit; the tool was not called.
        """
        runner = self._runners.get(message.tool_name)
        if runner is None:
            raise tool_not_found(message.tool_name, self._runners)
        return await runner.run(message.tool_args, ctx)

    def plan(self, message: ToolExecutionMessage) -> RunPlan:
        """How to run the tool that the message names.

        Raises:
            ToolNotFound: if it is not among those it was made with.
        """
        plan = self._plans.get(message.tool_name)
        if plan is None:
            raise tool_not_found(message.tool_name, self._plans)
        return plan


def tool_not_found(name: str, known: Mapping[str, Any]) -> ToolNotFound:
    """The error for a tool that is not among those ``known`` here."""
    hint = did_you_mean(name[:200], known) or "; load the module that declares it"
    return ToolNotFound(f"no tool {name[:200]!r} here{hint}")
