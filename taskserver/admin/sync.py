"""The inspector for scripts and notebooks: the same calls without ``await``, from any thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from taskserver.admin.inspector import Inspector
from taskserver.blocking import Blocking

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncInspector, P], T]:
    """A method of ``Inspector`` that blocks until it is done; name, signature and docstring are the same."""

    @wraps(method)
    def call(self: SyncInspector, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(lambda inspector: method(inspector, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate[SyncInspector, P], Iterator[T]]:
    """The same for a method that yields."""

    @wraps(method)
    def call(self: SyncInspector, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._iterate(lambda inspector: method(inspector, *args, **kwargs))

    return call


class SyncInspector(Blocking[Inspector]):
    """An inspector whose calls block; see ``Inspector`` for what each does and raises.

    ::

        with SyncInspector() as inspector:
            print([queue.name for queue in inspector.queues()])

    Callbacks such as ``progress`` are called in its own thread.

    Args:
        url: The broker; else ``TASKSERVER_BROKER_URL``; else an embedded broker is found or started.
        signing_keys: Where the keys are that sign the messages of requeued jobs; see ``Inspector``.
    """

    def __init__(self, url: str | None = None, *, signing_keys: str | None = None) -> None:
        super().__init__("taskserver inspector", partial(Inspector, url, signing_keys=signing_keys))

    check = _blocking(Inspector.check)

    queues = _blocking(Inspector.queues)
    queue = _blocking(Inspector.queue)
    pause = _blocking(Inspector.pause)
    resume = _blocking(Inspector.resume)
    purge = _blocking(Inspector.purge)
    partitions = _blocking(Inspector.partitions)
    set_partitions = _blocking(Inspector.set_partitions)
    forget = _blocking(Inspector.forget)

    jobs = _blocking(Inspector.jobs)
    job = _blocking(Inspector.job)
    events = _blocking(Inspector.events)
    cancel = _blocking(Inspector.cancel)
    retry = _blocking(Inspector.retry)

    dead_letters = _iterating(Inspector.dead_letters)
    dead_letter = _blocking(Inspector.dead_letter)
    count_dead_letters = _blocking(Inspector.count_dead_letters)
    causes = _blocking(Inspector.causes)
    requeue = _blocking(Inspector.requeue)
    delete_dead_letters = _blocking(Inspector.delete_dead_letters)

    workers = _blocking(Inspector.workers)
    stop_workers = _blocking(Inspector.stop_workers)
    restart_workers = _blocking(Inspector.restart_workers)
    scale = _blocking(Inspector.scale)

    schema = _blocking(Inspector.schema)
    examine_broker = _blocking(Inspector.examine_broker)
    examine = _blocking(Inspector.examine)
    repair = _blocking(Inspector.repair)
    gauges = _blocking(Inspector.gauges)
