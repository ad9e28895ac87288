"""The client: hand jobs to the broker, and get handles to follow them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

from taskserver.aio import paced
from taskserver.client.connected import Connected
from taskserver.client.existing import accept
from taskserver.client.job import Job
from taskserver.client.many import Written, submit_many
from taskserver.client.options import Declaration, PreparedJob, SubmitOptions, prepare, sealed
from taskserver.config.keys import keyring
from taskserver.config.settings import settings
from taskserver.domain.ids import JobRef, KeyMaker, new_route, parse
from taskserver.domain.messages import BaseMessage, ToolExecutionMessage
from taskserver.domain.names import check_queue_name, check_tool_name
from taskserver.embedded import EmbeddedBroker
from taskserver.errors import ClientUnusable, ToolInvalid
from taskserver.observability.tally import Submissions, counting
from taskserver.ownership import OpenOnce
from taskserver.store.broker.opening import open_broker
from taskserver.tools import Tool, secret_fields, tool_of
from taskserver.tools import check as check_arguments

T = TypeVar("T", covariant=True)
Arguments = Mapping[str, Any]

MOST_TOOLS = 1_000
"""Tools about which a client remembers something; one that has used more, made while it runs, forgets all of them."""


class AsyncToolClass(Protocol[T]):
    """For type checkers: a class tool with an async ``run``."""

    @property
    def run(self) -> Callable[..., Coroutine[Any, Any, T]]:
        """Does the work."""


class SyncToolClass(Protocol[T]):
    """For type checkers: a class tool with a sync ``run``."""

    @property
    def run(self) -> Callable[..., T]:
        """Does the work."""


class Client:
    """Submits any number of jobs and waits for them, over a few connections.

    Use it as ``async with Client() as client``, or call ``close`` yourself. It connects on first use, and belongs to
    the event loop and the process in which that happens. After ``close`` it can be connected again, in any event loop.
    Whatever it cannot do because of that raises ``ClientUnusable``, also through the handles that it has made.

    Args:
        url: URL of the broker; by default ``TASKSERVER_BROKER_URL``. Without either, an embedded broker is used.
        queue: Queue for jobs when neither the options nor the tool name one.
        durability: How durable a job must be before a submit returns: ``memory`` (of the broker), ``fsync`` (on its
            disk), ``replicas=N`` or ``fsync,replicas=N``; by default ``TASKSERVER_DURABILITY``.
        signing_keys: Where to find the keys that sign messages; by default ``TASKSERVER_SIGNING_KEYS``.
        metrics: Counts submitted jobs; see ``taskserver.observability.metrics``.

    Attributes:
        keyring: The keys that sign messages when jobs are submitted or run again; None if there are none.

    Raises:
        ConfigError: if the URL, the queue name, the durability or a key is invalid.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        queue: str | None = None,
        durability: str | None = None,
        signing_keys: str | None = None,
        metrics: Submissions | None = None,
    ) -> None:
        known = settings()
        self.queue = check_queue_name(queue or known.queue)
        self.keyring = keyring(signing_keys)
        self._settings = known
        self._metrics = metrics
        self._open = partial(open_broker, url, EmbeddedBroker.acquire, durability=durability)
        self._open()  # raises if the URL or the durability is not valid
        self._once = OpenOnce("this client", self._enter)
        self._new_key = KeyMaker(new_route())
        self._tools: dict[int, Tool] = {}  # by the id of what is decorated, which the tool keeps
        self._declarations: dict[Tool, Declaration] = {}

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Prepare connections to the broker, or start the embedded one; harmless when repeated.

        Connections are opened on first use, so a broker that is down is noticed only then.

        Raises:
            BrokerUnavailable: if there is no URL and the embedded broker cannot be started.
            ClientUnusable: if it belongs to another event loop or process.
        """
        if self._once.guard.closed:
            self._once = OpenOnce("this client", self._enter)
        await self._connect()

    async def check(self) -> None:
        """Check that the broker answers, accepts this user, and contains only keys that this version knows.

        Raises:
            BrokerUnavailable, BrokerDenied, BrokerUnsuitable: if it does not.
        """
        await (await self._connect()).broker.check_schema()

    async def close(self) -> None:
        """Let submits that have begun arrive, then close every connection; harmless when repeated.

        Whoever still waits for a result or events gets ``ClientUnusable``; so does every later call.

        Raises:
            ClientUnusable: if it belongs to another event loop or process.
        """
        await self._once.close()

    @overload
    async def submit(
        self, tool: type[AsyncToolClass[T]], args: Arguments | None = None, **options: Unpack[SubmitOptions]
    ) -> Job[T]: ...
    @overload
    async def submit(
        self, tool: type[SyncToolClass[T]], args: Arguments | None = None, **options: Unpack[SubmitOptions]
    ) -> Job[T]: ...
    @overload
    async def submit(
        self,
        tool: Callable[..., Coroutine[Any, Any, T]],
        args: Arguments | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job[T]: ...
    @overload
    async def submit(
        self, tool: Callable[..., T], args: Arguments | None = None, **options: Unpack[SubmitOptions]
    ) -> Job[T]: ...
    @overload
    async def submit(self, tool: str, args: Arguments | None = None, **options: Unpack[SubmitOptions]) -> Job[Any]: ...
    async def submit(self, tool: Any, args: Arguments | None = None, **options: Unpack[SubmitOptions]) -> Job[Any]:
        """Submit a tool call; return when the broker has the job.

        Args:
            tool: A decorated tool, or a tool's name. With a decorated tool, the arguments are checked before anything
                is sent, and the result is typed.
            args: The tool's arguments by name.
            **options: See ``SubmitOptions``.

        Raises:
            ArgumentsInvalid: if the arguments do not match the decorated tool.
            ConfigError: if an option is unknown or invalid.
            MessageTooLarge: if the arguments are too large.
            JobConflict: if the idempotency key belongs to another call, or to a job that has ended, with
                ``on_existing="raise"``.
            BrokerFull: if the broker is out of memory; the job was not submitted.
            NotReplicated: if the broker has the job, but it is not as durable as ``durability`` requires.
            BrokerUnavailable: if it is *unknown* whether the broker has the job: submit again with an idempotency key.
        """
        return await self._send(self._prepare_call(tool, args or {}, options))

    @overload
    async def submit_many(
        self, calls: Iterable[tuple[type[AsyncToolClass[T]], Arguments]], **options: Unpack[SubmitOptions]
    ) -> list[Job[T]]: ...
    @overload
    async def submit_many(
        self, calls: Iterable[tuple[type[SyncToolClass[T]], Arguments]], **options: Unpack[SubmitOptions]
    ) -> list[Job[T]]: ...
    @overload
    async def submit_many(
        self, calls: Iterable[tuple[Callable[..., Coroutine[Any, Any, T]], Arguments]], **options: Unpack[SubmitOptions]
    ) -> list[Job[T]]: ...
    @overload
    async def submit_many(
        self, calls: Iterable[tuple[Callable[..., T], Arguments]], **options: Unpack[SubmitOptions]
    ) -> list[Job[T]]: ...
    @overload
    async def submit_many(
        self, calls: Iterable[tuple[Callable[..., Any] | str, Arguments]], **options: Unpack[SubmitOptions]
    ) -> list[Job[Any]]: ...
    async def submit_many(
        self, calls: Iterable[tuple[Any, Arguments]], **options: Unpack[SubmitOptions]
    ) -> list[Job[Any]]:
        """Submit many tool calls in as few round trips as their size allows; return their handles in order.

        Args:
            calls: ``(tool, args)`` pairs, each as in ``submit``.
            **options: Options for all of them. An ``idempotency_key`` is made unique by adding each call's position.

        Raises:
            As ``submit``; all calls are checked before the first is sent. The ``acknowledged`` of a ``BrokerError``
            lists, for each call, the id of its job, or None if the broker has not acknowledged it. ``JobConflict`` is
            raised when all others are submitted; its ``acknowledged`` has None for the calls that conflict.
        """
        prepared = await paced(self._prepare_calls(calls, options))
        connected = await self._ready()
        written = await submit_many(connected, self.keyring, prepared, self._count)
        return await paced(self._handles(connected, prepared, written))

    def _prepare_calls(
        self, calls: Iterable[tuple[Callable[..., Any] | str, Arguments]], options: SubmitOptions
    ) -> Iterator[PreparedJob]:
        key = options.pop("idempotency_key", None)
        for position, (tool, args) in enumerate(calls):
            if key is not None:
                options["idempotency_key"] = f"{key}/{position}"
            yield self._prepare_call(tool, args, options)

    async def send(self, message: BaseMessage, **options: Unpack[SubmitOptions]) -> Job[Any]:
        """Submit a message of any type; a worker with a consumer for that type processes it.

        Raises:
            As ``submit``.
        """
        name = message.tool_name if isinstance(message, ToolExecutionMessage) else message.message_type
        declaration = Declaration(name, self.queue, secrets=secret_fields(type(message)))
        return await self._send(self._prepare(message, declaration, options))

    def job(self, job_id: str, returns: Any = Any) -> Job[Any]:
        """The handle of a job with this id, whichever process submitted it.

        Args:
            job_id: The id.
            returns: Type to decode the result to; plain data by default.

        Raises:
            JobIdInvalid: if ``job_id`` is not a job id; that is a ``JobNotFound``.
            ClientUnusable: if the client is not connected.
        """
        connected = self._once.opened
        if connected is None:
            raise ClientUnusable("connect first: use `async with Client() as client`, or await client.connect()")
        return self._handle(connected, *parse(job_id), returns)

    async def _send(self, prepared: PreparedJob) -> Job[Any]:
        job = prepared.job
        once = self._once
        if once.guard.loop is not asyncio.get_running_loop():
            once.guard.check()
        connected = once.opened
        if connected is None or not connected.router.ready:
            connected = await self._ready()
        router = connected.router
        partition = router.route(prepared.queue, job) if router.needed else prepared.queue
        signed = job if self.keyring is None else sealed(self.keyring, partition, job)
        existing = await connected.submitter.submit(partition, signed)
        self._count((prepared,))
        handle = self._handle(connected, partition, job.key, prepared.declaration.returns)
        if existing is not None:
            handle.existed = await accept(connected.broker, connected.waiter, JobRef(partition, job.key), job, existing)
        return handle

    def _handles(self, connected: Connected, prepared: Iterable[PreparedJob], written: Written) -> Iterator[Job[Any]]:
        for each, partition in zip(prepared, written.partitions, strict=True):
            handle = self._handle(connected, partition, each.job.key, each.declaration.returns)
            handle.existed = written.existed.get(each.job.call)
            yield handle

    def _handle(self, connected: Connected, partition: str, key: str, returns: Any) -> Job[Any]:
        return Job(connected.broker, connected.waiter, partition, key, returns, self.keyring)

    async def _connect(self) -> Connected:
        return await self._once.get()

    async def _enter(self, stack: AsyncExitStack) -> Connected:
        connected = Connected.to(await stack.enter_async_context(self._open()), self._once.guard)
        stack.push_async_callback(connected.close)
        return connected

    async def _ready(self) -> Connected:
        """Connect, and wait until the router knows how many partitions queues have; only the first submits wait."""
        connected = await self._connect()
        if not connected.router.ready:
            await connected.router.learn()
        return connected

    def _count(self, submitted: Iterable[PreparedJob]) -> None:
        counts = self._metrics or counting.get()
        if counts is not None:
            for each in submitted:
                counts.add(each.queue, each.declaration.name)

    def _prepare(self, message: BaseMessage, declaration: Declaration, options: SubmitOptions) -> PreparedJob:
        return prepare(message, options, declaration, self._new_key, self._settings.max_message_bytes)

    def _prepare_call(self, tool: Any, args: Arguments, options: SubmitOptions) -> PreparedJob:
        if isinstance(tool, str):
            declaration = Declaration(check_tool_name(tool), self.queue)
        else:
            declared = self._tools.get(id(tool)) or self._find_tool(tool)
            check_arguments(declared, args)
            declaration = self._declarations.get(declared) or self._declare(declared)
        message = ToolExecutionMessage(tool_name=declaration.name, tool_args=dict(args))
        return self._prepare(message, declaration, options)

    def _find_tool(self, target: Any) -> Tool:
        tool = tool_of(target)
        if tool is None:
            raise ToolInvalid(f"{getattr(target, '__name__', target)!r} is not a tool: decorate it with @tool")
        if len(self._tools) >= MOST_TOOLS:
            self._tools, self._declarations = {}, {}
        return self._tools.setdefault(id(target), tool)

    def _declare(self, tool: Tool) -> Declaration:
        declaration = Declaration(tool.name, tool.queue or self.queue, tool.lane, tool.returns, tool.secret_fields)
        return self._declarations.setdefault(tool, declaration)
