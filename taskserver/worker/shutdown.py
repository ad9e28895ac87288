"""How a worker stops: first it takes no new jobs, then the running ones end, then their outcomes reach the broker.

Each of the three has its time, whatever the broker does, so a worker has stopped within ``LEAVE_SECONDS``
(``process_exit.py``) after its grace period.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from taskserver.aio import cancel_and_wait
from taskserver.tools import RunningToolbox
from taskserver.tools.processes import ProcessPool
from taskserver.worker.control import Control
from taskserver.worker.executor import Executor
from taskserver.worker.heartbeat import Heartbeat
from taskserver.worker.partitions import Partitions
from taskserver.worker.process_exit import LAST_SECONDS, RELEASE_SECONDS, SETTLE_SECONDS
from taskserver.worker.service import Service

log = logging.getLogger("taskserver.worker")


class Shutdown:
    """The end of one worker.

    Args:
        name: The worker's name.
        upkeep: The services that bring jobs and keep the queues healthy, at the time of the call.
        executor: Runs the jobs.
        processes: Runs CPU-bound tools.
        toolbox: Closed when no job needs it any more.
        partitions: What the worker has for each partition.
        control: Needed until the last job has ended, like the next one.
        heartbeat: Renews the leases of running and of unsettled jobs.
    """

    def __init__(
        self,
        name: str,
        upkeep: Callable[[], Iterable[Service]],
        executor: Executor,
        processes: ProcessPool,
        toolbox: RunningToolbox,
        partitions: Partitions,
        control: Control,
        heartbeat: Heartbeat,
    ) -> None:
        self._name = name
        self._upkeep = upkeep
        self._executor = executor
        self._processes = processes
        self._toolbox = toolbox
        self._partitions = partitions
        self._control = control
        self._heartbeat = heartbeat

    async def run(self, grace_period: float, hurry: asyncio.Event, unless: asyncio.Event | None = None) -> None:
        """Stop everything.

        Args:
            grace_period: Seconds that running jobs may take to end.
            hurry: Ends the grace period early.
            unless: If given, jobs have any time until this is set; then the grace period begins.
        """
        quiet = asyncio.create_task(self._until_quiet(self._stop_upkeep()))
        if unless is not None:
            await _first(quiet, unless)
        await _first(quiet, hurry, grace_period)
        await self._hand_back(quiet)
        settlers = [partition.settler.stop() for partition in self._partitions.values()]
        await _within(SETTLE_SECONDS, self._processes.close(), self._toolbox.stop(), *settlers)
        await _within(LAST_SECONDS, self._leave())

    def _stop_upkeep(self) -> asyncio.Future[list[BaseException | None]]:
        """Begin at once, before a job that is just ending makes room for another."""
        return asyncio.gather(*(service.stop() for service in self._upkeep()), return_exceptions=True)

    async def _until_quiet(self, upkeep: asyncio.Future[list[BaseException | None]]) -> None:
        """Wait until nothing new comes and nothing runs."""
        _report(await upkeep)
        _report(await self._stop_upkeep())  # of partitions that were just being taken up
        await self._executor.wait_idle()

    async def _hand_back(self, quiet: asyncio.Task[None]) -> None:
        """Hand running jobs back, and do not wait any longer for what the broker does not answer."""
        if not quiet.done():
            if running := len(self._executor.running):
                log.info("worker %s hands back running jobs: %d", self._name, running)
            self._executor.release_all()
            await asyncio.wait((quiet,), timeout=RELEASE_SECONDS)
        if quiet.done():
            quiet.result()
        else:
            await cancel_and_wait(quiet)

    async def _leave(self) -> None:
        await _each(self._control.stop(), self._heartbeat.stop())
        await self._partitions.leave()


async def _first(task: asyncio.Task[None], event: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until the task is done, the event is set, or the time is over."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((task, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    await cancel_and_wait(waiting)


async def _within(seconds: float, *calls: Awaitable[None]) -> None:
    """Await calls together; those that take longer are cancelled."""
    try:
        async with asyncio.timeout(seconds):
            await _each(*calls)
    except TimeoutError:
        log.debug("the broker did not answer within %g s: not waiting for it", seconds)


async def _each(*calls: Awaitable[None]) -> None:
    """Await calls together; the error of one is logged, and keeps nothing else from being stopped."""
    _report(await asyncio.gather(*calls, return_exceptions=True))


def _report(results: Iterable[BaseException | None]) -> None:
    for error in results:
        if error is not None:
            log.error("a part of the worker could not be stopped: %s", error, exc_info=error)
