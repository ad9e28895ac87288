"""The processes in which a worker runs its CPU-bound tools.

A process is started when a job needs one and none is idle; there are never more than the worker has slots. They stay
warm, the last used is used first, and a process that has been idle for a while ends. A process that was killed is
replaced when the next job needs it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

from taskserver.errors import ToolCrashed
from taskserver.tools.context import Context
from taskserver.tools.processes.process import NotBegun, ToolProcess
from taskserver.tools.processes.reference import reference_of
from taskserver.tools.processes.wire import ProcessJob, Welcome
from taskserver.tools.tool import Tool

IDLE_SECONDS = 60.0
"""How long a process may be idle before it ends."""
MOST_JOBS = 10_000
"""Number of jobs after which a process is replaced, so that leaks in a tool's libraries do not add up for ever."""

log = logging.getLogger("taskserver.worker")


class Lifeline(NamedTuple):
    """The two ends of a pipe, as file descriptors."""

    reading: int
    writing: int


class ProcessPool:
    """Runs tools in processes.

    Args:
        size: Maximum number of processes.
        tools: The worker's tools; those that do not run in a process are skipped.
        max_message_bytes: Maximum size of a result in bytes.
        secrets: Names of arguments whose values are masked, in addition to those that the tools declare.

    Raises:
        ToolInvalid: if a process could not find one of the tools.
    """

    def __init__(self, size: int, tools: Iterable[Tool], max_message_bytes: int, secrets: Iterable[str] = ()) -> None:
        self._size = size
        self._references = {tool.name: reference_of(tool) for tool in tools if tool.runs_in == "process"}
        self._max_message_bytes = max_message_bytes
        self._secrets = tuple(secrets)
        self._all: set[ToolProcess] = set()
        self._idle: dict[ToolProcess, asyncio.TimerHandle] = {}
        self._waiting: deque[asyncio.Future[ToolProcess]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._lifeline: Lifeline | None = None
        self._closed = False

    @property
    def count(self) -> int:
        """Number of processes, including those that are starting or ending."""
        return len(self._all)

    async def run(self, tool: Tool, arguments: Mapping[str, Any], context: Context) -> Any:
        """Run a tool in a free process, and return its result as plain data.

        When this is cancelled, the process is killed; one that is still starting may continue to.

        Raises:
            RaisedInProcess: if the tool raised an error; also a ``PermanentError`` if another attempt would not help.
            ToolCrashed: if the process ended.
        """

        def job(number: int) -> ProcessJob:
            return ProcessJob(
                number,
                tool.name,
                dict(arguments),
                context.job_id,
                context.queue,
                context.attempt,
                context.max_attempts,
                context.idempotency_key,
                context.session_id,
                context.tags,
                tool.max_memory,
                (*self._secrets, *tool.secret_fields, *context._secrets),
            )

        for _ in range(1 + self._size):  # all of them may have been killed while they were idle
            process = await self._take()
            try:
                return await process.run(job, context)
            except NotBegun as crash:
                ended = crash
            finally:
                self._give(process)
        raise ended

    async def close(self) -> None:
        """End all processes and wait until they are gone; those that are running a job are killed."""
        self._closed = True
        while (free := self._next_waiting()) is not None:
            free.set_exception(ToolCrashed("the process pool was closed before a process was free"))
        for task in self._starting:
            task.cancel()
        for process in list(self._all):
            if process in self._idle:
                self._forget_idle(process)
                process.dismiss()
            else:
                process.kill()
        await asyncio.gather(*self._starting, *(process.ended for process in self._all), return_exceptions=True)
        if self._lifeline is not None:
            for end in self._lifeline:
                os.close(end)
            self._lifeline = None

    async def _take(self) -> ToolProcess:
        while self._idle:
            process = next(reversed(self._idle))
            self._forget_idle(process)
            if process.usable:
                return process
            process.dismiss()  # it died while it was idle
        free: asyncio.Future[ToolProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(free)
        self._start_some()
        try:
            return await free
        except asyncio.CancelledError:
            if free.done() and not free.cancelled() and free.exception() is None:
                self._give(free.result())
            raise

    def _give(self, process: ToolProcess) -> None:
        """Give a free process to whoever has waited longest, or keep it for later."""
        if not process.usable or self._closed:
            process.dismiss()
            return
        free = self._next_waiting()
        if free is not None:
            free.set_result(process)
        else:
            self._idle[process] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._expire, process)

    def _next_waiting(self) -> asyncio.Future[ToolProcess] | None:
        while self._waiting:
            free = self._waiting.popleft()
            if not free.done():
                return free
        return None

    def _forget_idle(self, process: ToolProcess) -> None:
        self._idle.pop(process).cancel()

    def _expire(self, process: ToolProcess) -> None:
        self._forget_idle(process)
        process.dismiss()

    def _start_some(self) -> None:
        """Start a process for each waiter for whom none is starting yet, up to the maximum."""
        wanted = sum(not free.done() for free in self._waiting) - len(self._starting)
        for _ in range(min(wanted, self._size - len(self._all))):
            try:
                process = ToolProcess.spawn(self._reading_end())
            except OSError as error:
                self._fail_one(ToolCrashed(f"could not start a tool process: {error}"))
                continue
            self._all.add(process)
            process.ended.add_done_callback(partial(self._gone, process))
            task = asyncio.create_task(self._start(process))
            self._starting.add(task)
            task.add_done_callback(partial(self._started, process))

    def _started(self, process: ToolProcess, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled() and not process.spent:  # before it began; whoever waits gets another process
            process.kill()

    async def _start(self, process: ToolProcess) -> None:
        begun = time.monotonic()
        root, tools = logging.getLogger(), logging.getLogger("taskserver.tool")
        level = min(root.level or logging.WARNING, tools.getEffectiveLevel())
        try:
            await process.ready(Welcome(self._references, level, self._max_message_bytes, MOST_JOBS))
        except Exception as error:  # noqa: BLE001 - raised to whoever waits
            process.kill()
            self._fail_one(error)
        except BaseException:
            process.kill()
            raise
        else:
            log.debug("tool process %d was ready after %.2f s", process.pid, time.monotonic() - begun)
            self._give(process)

    def _fail_one(self, error: Exception) -> None:
        free = self._next_waiting()
        if free is not None:
            free.set_exception(error)

    def _gone(self, process: ToolProcess, _: object) -> None:
        self._all.discard(process)
        if not self._closed:
            self._start_some()

    def _reading_end(self) -> int:
        """The reading end of a pipe that only this process writes to: it ends with this process."""
        if self._lifeline is None:
            self._lifeline = Lifeline(*os.pipe())
        return self._lifeline.reading


processes: ContextVar[ProcessPool] = ContextVar("processes")
"""The process pool of the worker whose attempt is running in this context."""
