"""The processes of one worker in which its CPU-bound tools run.

They start when a job needs one and none is idle, never more than the worker has slots; they stay warm, the last used
first in line, and end after a while without a job. One that was killed is replaced when the next job needs it.
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
from typing import Any

from taskserver.errors import ToolCrashed
from taskserver.tools.context import Context
from taskserver.tools.processes.process import NotBegun, ToolProcess
from taskserver.tools.processes.reference import reference_of
from taskserver.tools.processes.wire import ProcessJob, Welcome
from taskserver.tools.tool import Tool

IDLE_SECONDS = 60.0
"""How long a process stays without a job."""
MOST_JOBS = 10_000
"""Jobs after which a process is replaced: what leaks in a tool's libraries does not add up for ever."""

log = logging.getLogger("taskserver.worker")


class ProcessPool:
    """Runs tools in processes.

    Args:
        size: Processes at most.
        tools: The worker's tools; those that run elsewhere are passed over.
        max_result_bytes: The largest result that is kept.

    Raises:
        ToolInvalid: if a process could not find one of the tools.
    """

    def __init__(self, size: int, tools: Iterable[Tool], max_result_bytes: int) -> None:
        self._size = size
        self._references = {tool.name: reference_of(tool) for tool in tools if tool.runs_in == "process"}
        self._max_result_bytes = max_result_bytes
        self._all: set[ToolProcess] = set()
        self._idle: dict[ToolProcess, asyncio.TimerHandle] = {}
        self._waiting: deque[asyncio.Future[ToolProcess]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._life: tuple[int, int] | None = None
        self._closed = False

    @property
    def count(self) -> int:
        """How many processes there are, those counted that start or are about to end."""
        return len(self._all)

    async def run(self, tool: Tool, arguments: Mapping[str, Any], context: Context) -> Any:
        """Run a tool in a process that is free, and return its result as plain data.

        When this is cancelled, the process is killed; one that has only begun to start may go on.

        Raises:
            RaisedInProcess: if the tool raised; also a ``PermanentError``, if another attempt would not help.
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
        """End all processes, and return when they are gone; those that run a job are killed."""
        self._closed = True
        for task in self._starting:
            task.cancel()
        for process in list(self._all):
            if process in self._idle:
                self._forget_idle(process)
                process.dismiss()
            else:
                process.kill()
        await asyncio.gather(*self._starting, *(process.ended for process in self._all), return_exceptions=True)
        if self._life is not None:
            for end in self._life:
                os.close(end)
            self._life = None

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
        """A process is free: for who waits longest, or for later."""
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
        """Start as many processes as there are waiters without one on its way, and room."""
        wanted = sum(not free.done() for free in self._waiting) - len(self._starting)
        for _ in range(min(wanted, self._size - len(self._all))):
            try:
                process = ToolProcess.spawn(self._lifeline())
            except OSError as error:
                self._fail_one(ToolCrashed(f"no process for tools could be started: {error}"))
                continue
            self._all.add(process)
            process.ended.add_done_callback(partial(self._gone, process))
            task = asyncio.create_task(self._start(process))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, process: ToolProcess) -> None:
        begun = time.monotonic()
        root, tools = logging.getLogger(), logging.getLogger("taskserver.tool")
        level = min(root.level or logging.WARNING, tools.getEffectiveLevel())
        try:
            await process.ready(Welcome(self._references, level, self._max_result_bytes, MOST_JOBS))
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            process.kill()
            self._fail_one(error)
        except BaseException:
            process.kill()
            raise
        else:
            log.debug("process %d for tools was ready after %.2f s", process.pid, time.monotonic() - begun)
            self._give(process)

    def _fail_one(self, error: Exception) -> None:
        free = self._next_waiting()
        if free is not None:
            free.set_exception(error)

    def _gone(self, process: ToolProcess, _: object) -> None:
        self._all.discard(process)
        if not self._closed:
            self._start_some()

    def _lifeline(self) -> int:
        """The reading end of a pipe whose other end is only here: it breaks when this process ends, however it does."""
        if self._life is None:
            self._life = os.pipe()
        return self._life[0]


processes: ContextVar[ProcessPool] = ContextVar("processes")
"""The processes of the worker whose attempt is running in this context."""
