"""The client: hand jobs to the broker, and get handles to follow them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from copy import copy
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

from taskserver.client.job import Job
from taskserver.client.options import Defaults, SubmitOptions, build, sealed
from taskserver.client.router import PartitionRouter, all_done
from taskserver.client.submitter import Submitter
from taskserver.client.waiter import Waiter
from taskserver.config.keys import keyring
from taskserver.config.settings import settings
from taskserver.domain.durability import Durability
from taskserver.domain.ids import KeyMaker, new_route, parse
from taskserver.domain.job import NewJob
from taskserver.domain.messages import BaseMessage, ToolExecutionMessage
from taskserver.domain.names import check_queue_name, check_tool_name
from taskserver.embedded import EmbeddedBroker
from taskserver.errors import TaskServerError, ToolInvalid
from taskserver.observability.tally import Submissions, counting
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import submit as submitting
from taskserver.tools import Tool, secret_fields, tool_of
from taskserver.tools import check as check_arguments

T = TypeVar("T", covariant=True)
Arguments = Mapping[str, Any]


class AsyncToolClass(Protocol[T]):
    """A tool that is a class whose ``run`` is a coroutine function, for type checkers."""

    @property
    def run(self) -> Callable[..., Coroutine[Any, Any, T]]:
        """Does the work."""


class SyncToolClass(Protocol[T]):
    """A tool that is a class whose ``run`` is a plain function, for type checkers."""

    @property
    def run(self) -> Callable[..., T]:
        """Does the work."""


class Client:
    """Submits jobs and waits for them, any number over a few connections.

    Use it as ``async with Client() as client``, or call ``close`` yourself. It connects on first use, and belongs
    to the event loop that it is used in.

    Args:
        url: The broker; else ``TASKSERVER_BROKER_URL``; else an embedded broker is found or started.
        queue: The queue for jobs whose options and tool name none.
        durability: What an acknowledged submit has survived: ``memory`` (of the broker), ``fsync`` (its disk),
            ``replicas=N``, or ``fsync,replicas=N``; else ``TASKSERVER_DURABILITY``.
        signing_keys: Where the keys are that sign messages; else ``TASKSERVER_SIGNING_KEYS``.
        metrics: Counts what it submits; see ``taskserver.observability.metrics``.

    Attributes:
        keyring: The keys that sign what is submitted or run again; None if there are none.

    Raises:
        ConfigError: if the URL, the queue's name, the durability or a key cannot work.
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
        if url is None and known.broker_url is not None:
            url = known.broker_url.get_secret_value()
        self.queue = check_queue_name(queue or known.queue)
        self.keyring = keyring(signing_keys)
        self._settings = known
        self._metrics = metrics
        self._embedded: EmbeddedBroker | None = None
        self._durability = known.durability if durability is None else Durability.parse(durability)
        self._broker = self._reach(url) if url is not None else None
        self._submitter: Submitter | None = None
        self._spread: PartitionRouter | None = None
        self._waiter: Waiter | None = None
        self._connecting = asyncio.Lock()
        self._knows_partitions = False
        self._learning: asyncio.Task[tuple[Broker, PartitionRouter]] | None = None
        self._new_key = KeyMaker(new_route())
        self._declared: dict[Tool, Defaults] = {}

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> Broker:
        """Find the broker, or start the embedded one; harmless when repeated. A broker that is down shows on use.

        Raises:
            BrokerUnavailable: if there is no URL and the embedded broker cannot be started.
        """
        async with self._connecting:
            if self._broker is None:
                self._embedded = await asyncio.to_thread(EmbeddedBroker.acquire)
                self._broker = self._reach(self._embedded.url)
            if self._submitter is None:
                self._spread = PartitionRouter(self._broker)
                self._submitter = Submitter(self._broker, self._spread.sent)
                self._waiter = Waiter(self._broker)
        return self._broker

    async def check(self) -> None:
        """Make sure that the broker answers, lets us in and holds keys that this version knows.

        Raises:
            BrokerUnavailable, BrokerDenied, BrokerUnsuitable: if not.
        """
        await (await self.connect()).check_schema()

    async def close(self) -> None:
        """Let submits on their way arrive, and close every connection; harmless when repeated."""
        if self._learning is not None:
            await asyncio.wait((self._learning,))  # whoever waits for it submits then
        if self._submitter and self._spread and self._waiter and self._broker:
            await self._submitter.close()
            await self._spread.close()
            await self._waiter.close()
            await self._broker.close()
        self._submitter = self._spread = self._waiter = None
        self._knows_partitions, self._learning = False, None
        if self._embedded:
            self._embedded.release()

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
        """Hand a tool call to the workers; returns when the broker has it.

        Args:
            tool: A decorated tool (its arguments are checked here, its result will be typed), or a tool's name.
            args: The tool's arguments by name.
            **options: See ``SubmitOptions``.

        Raises:
            ArgumentsInvalid: if they do not fit a tool passed as function.
            ConfigError: for an option that cannot work.
            MessageTooLarge: if the arguments are too large.
            BrokerFull: if the broker refused the job.
            NotReplicated: if the broker has it, but it is not as durable as ``durability`` asks for.
            BrokerUnavailable: if it is *unknown* whether the broker has it: submit again with an idempotency key.
        """
        message, defaults, returns = self._call(tool, args or {})
        return await self._send(message, defaults, returns, options)

    async def submit_many(
        self,
        calls: Iterable[tuple[Callable[..., Any] | str, Arguments]],
        **options: Unpack[SubmitOptions],
    ) -> list[Job[Any]]:
        """Submit many calls in as few round trips as their size allows; handles come back in order.

        Args:
            calls: ``(tool, args)`` pairs, each as in ``submit``.
            **options: For all of them. An ``idempotency_key`` is made unique by each call's position.

        Raises:
            As ``submit``; calls are checked before the first is sent.
        """
        broker, spread = await self._learn_partitions()
        key = options.pop("idempotency_key", None)
        made: list[NewJob] = []
        names: list[str] = []
        types: list[Any] = []
        by_queue: dict[str, list[int]] = {}
        for position, (tool, args) in enumerate(calls):
            if key is not None:
                options["idempotency_key"] = f"{key}/{position}"
            message, defaults, returns = self._call(tool, args)
            queue, new = self._build(message, options, defaults)
            by_queue.setdefault(queue, []).append(position)
            made.append(new)
            names.append(message.tool_name)
            types.append(returns)
        places = [""] * len(made)
        for queue, positions in by_queue.items():
            chunks = spread.chunks(queue, [made[position] for position in positions])
            await all_done(
                self._submit_some(broker, place, [made[positions[i]] for i in chunk]) for place, chunk in chunks
            )
            self._count(queue, [names[position] for position in positions])
            for place, chunk in chunks:
                for i in chunk:
                    places[positions[i]] = place
        return [self._handle(place, new.key, returns) for place, new, returns in zip(places, made, types, strict=True)]

    async def _submit_some(self, broker: Broker, place: str, jobs: list[NewJob]) -> None:
        keys = self.keyring
        await submitting.submit(broker, place, jobs if keys is None else [sealed(keys, place, job) for job in jobs])

    async def send(self, message: BaseMessage, **options: Unpack[SubmitOptions]) -> Job[Any]:
        """Hand a message of any type to the workers; a consumer of its type processes it.

        Raises:
            As ``submit``.
        """
        return await self._send(message, Defaults(self.queue, secrets=secret_fields(type(message))), Any, options)

    def job(self, job_id: str, returns: Any = Any) -> Job[Any]:
        """The handle of a job by its id, from any process.

        Args:
            job_id: The id.
            returns: Type to decode the result to.

        Raises:
            ConfigError: if ``job_id`` does not have the form of an id.
        """
        if self._broker is None or self._waiter is None:
            raise RuntimeError("connect first: use `async with Client() as client`, or await client.connect()")
        return self._handle(*parse(job_id), returns)

    async def _send(self, message: BaseMessage, defaults: Defaults, returns: Any, options: SubmitOptions) -> Job[Any]:
        queue, new = self._build(message, options, defaults)
        if not self._knows_partitions:
            await self._learn_partitions()
        assert self._spread is not None and self._submitter is not None  # noqa: PT018, S101 - they are there by now
        place = self._spread.place(queue, new)
        await self._submitter.submit(place, new if self.keyring is None else sealed(self.keyring, place, new))
        name = message.tool_name if isinstance(message, ToolExecutionMessage) else message.message_type
        self._count(queue, (name,))
        return self._handle(place, new.key, returns)

    def _handle(self, queue: str, key: str, returns: Any) -> Job[Any]:
        assert self._broker is not None  # noqa: S101 - whoever calls has connected
        assert self._waiter is not None  # noqa: S101
        return Job(self._broker, self._waiter, queue, key, returns, self.keyring)

    async def _learn_partitions(self) -> tuple[Broker, PartitionRouter]:
        """Connect, and ask how many partitions queues have: once, for later this is looked after in the background."""
        if self._learning is None:
            self._learning = asyncio.create_task(self._learn(), name="learn partitions")
        try:
            return await asyncio.shield(self._learning)
        except TaskServerError as error:
            raise copy(error) from None  # others wait for the same answer

    async def _learn(self) -> tuple[Broker, PartitionRouter]:
        try:
            broker = await self.connect()
            assert self._spread is not None  # noqa: S101 - connect made it
            await self._spread.learn()
            self._knows_partitions = True
        finally:
            if not self._knows_partitions:
                self._learning = None  # the next submit asks again
        return broker, self._spread

    def _count(self, queue: str, tools: Iterable[str]) -> None:
        counts = self._metrics or counting.get()
        if counts is not None:
            for tool in tools:
                counts.add(queue, tool)

    def _build(self, message: BaseMessage, options: SubmitOptions, defaults: Defaults) -> tuple[str, NewJob]:
        return build(message, options, defaults, self._new_key, self._settings.max_message_bytes)

    def _call(self, tool: Any, args: Arguments) -> tuple[ToolExecutionMessage, Defaults, Any]:
        if isinstance(tool, str):
            message = ToolExecutionMessage(tool_name=check_tool_name(tool), tool_args=dict(args))
            return message, Defaults(self.queue), Any
        known: Tool | None = tool_of(tool)
        if known is None:
            raise ToolInvalid(f"{getattr(tool, '__name__', tool)!r} is not a tool: put @tool in front of it")
        check_arguments(known, args)
        message = ToolExecutionMessage(tool_name=known.name, tool_args=dict(args))
        return message, self._declared.get(known) or self._declare(known), known.returns

    def _declare(self, tool: Tool) -> Defaults:
        defaults = Defaults(tool.queue or self.queue, tool.lane, tool.secret_fields)
        return self._declared.setdefault(tool, defaults)

    def _reach(self, url: str) -> Broker:
        return Broker(url, patience=self._settings.patience, durability=self._durability)
