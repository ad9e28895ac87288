"""The client for scripts and notebooks: the same calls without ``await``, from any thread.

An event loop runs in a thread of its own; each call hands it a coroutine and waits. So this also works where a loop is
already running in the caller's thread, as in notebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, Unpack, overload

from taskserver.blocking import Blocking
from taskserver.client.client import AsyncToolClass, Client, SyncToolClass
from taskserver.client.job import Job
from taskserver.client.options import SubmitOptions
from taskserver.domain.events import Event
from taskserver.domain.job import JobStatus, State
from taskserver.domain.messages import BaseMessage
from taskserver.observability.tally import Submissions

T = TypeVar("T")


class SyncJob(Generic[T]):
    """A job's handle with blocking calls; see ``Job`` for what each does and raises. It also works after a fork.

    Attributes:
        id: The job's id.
        existed: As in ``Job``.
    """

    def __init__(self, client: SyncClient, job: Job[T]) -> None:
        self.id = job.id
        self.existed = job.existed
        self._returns = job.returns
        self._client = client

    def __repr__(self) -> str:
        return f"SyncJob({self.id!r})"

    def _job(self, client: Client) -> Job[Any]:
        return client.job(self.id, self._returns)

    def status(self) -> JobStatus:
        """Everything that is known about the job now."""
        return self._client._run(lambda client: self._job(client).status())

    def result(self, timeout: float | None = None) -> T:
        """Wait until the job has ended, for at most ``timeout`` seconds, and return its result."""
        result: T = self._client._run(lambda client: self._job(client).result(timeout))
        return result

    def cancel(self) -> State:
        """Cancel the job."""
        return self._client._run(lambda client: self._job(client).cancel())

    def retry(self) -> None:
        """Run an ended job again."""
        self._client._run(lambda client: self._job(client).retry())

    def events(self, after: str = "0") -> Iterator[Event]:
        """Follow the job's progress and output until it has ended, starting with the events so far."""
        return self._client._iterate(lambda client: self._job(client).events(after))


class SyncClient(Blocking[Client]):
    """A client with blocking calls; see ``Client`` for what each does and raises.

    Any thread may use it, and so may forked processes: one at the top of a module serves them all, as each connects by
    itself.

    ::

        with SyncClient() as client:
            print(client.submit("summarize", {"url": url}).result())

    Args:
        url: URL of the broker; see ``Client``.
        queue: Default queue; see ``Client``.
        durability: How durable a job must be before a submit returns; see ``Client``.
        signing_keys: Where to find the keys that sign messages; see ``Client``.
        metrics: Counts submitted jobs; see ``Client``.
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
        options = {"queue": queue, "durability": durability, "signing_keys": signing_keys}
        super().__init__("taskserver client", lambda: Client(url, **options, metrics=metrics))

    @overload
    def submit(
        self, tool: type[AsyncToolClass[T]], args: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> SyncJob[T]: ...
    @overload
    def submit(
        self, tool: type[SyncToolClass[T]], args: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> SyncJob[T]: ...
    @overload
    def submit(
        self,
        tool: Callable[..., Coroutine[Any, Any, T]],
        args: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> SyncJob[T]: ...
    @overload
    def submit(
        self, tool: Callable[..., T], args: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> SyncJob[T]: ...
    @overload
    def submit(
        self, tool: str, args: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> SyncJob[Any]: ...
    def submit(
        self, tool: Any, args: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> SyncJob[Any]:
        """Submit a tool call."""
        return SyncJob(self, self._run(lambda client: client.submit(tool, args, **options)))

    @overload
    def submit_many(
        self, calls: Iterable[tuple[type[AsyncToolClass[T]], Mapping[str, Any]]], **options: Unpack[SubmitOptions]
    ) -> list[SyncJob[T]]: ...
    @overload
    def submit_many(
        self, calls: Iterable[tuple[type[SyncToolClass[T]], Mapping[str, Any]]], **options: Unpack[SubmitOptions]
    ) -> list[SyncJob[T]]: ...
    @overload
    def submit_many(
        self,
        calls: Iterable[tuple[Callable[..., Coroutine[Any, Any, T]], Mapping[str, Any]]],
        **options: Unpack[SubmitOptions],
    ) -> list[SyncJob[T]]: ...
    @overload
    def submit_many(
        self, calls: Iterable[tuple[Callable[..., T], Mapping[str, Any]]], **options: Unpack[SubmitOptions]
    ) -> list[SyncJob[T]]: ...
    @overload
    def submit_many(
        self, calls: Iterable[tuple[Callable[..., Any] | str, Mapping[str, Any]]], **options: Unpack[SubmitOptions]
    ) -> list[SyncJob[Any]]: ...
    def submit_many(
        self, calls: Iterable[tuple[Any, Mapping[str, Any]]], **options: Unpack[SubmitOptions]
    ) -> list[SyncJob[Any]]:
        """Submit many tool calls in as few round trips as their size allows."""
        return [SyncJob(self, job) for job in self._run(lambda client: client.submit_many(calls, **options))]

    def send(self, message: BaseMessage, **options: Unpack[SubmitOptions]) -> SyncJob[Any]:
        """Submit a message of any type."""
        return SyncJob(self, self._run(lambda client: client.send(message, **options)))

    def job(self, job_id: str, returns: Any = Any) -> SyncJob[Any]:
        """The handle of a job with this id."""
        return SyncJob(self, self._open().wrapped.job(job_id, returns))
