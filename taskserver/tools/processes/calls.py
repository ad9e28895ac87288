"""The tools of a tool process, which are imported and instantiated there.

Sync code runs in the main thread and outside the event loop, as in a program of its own. Async code runs in one event
loop, which runs only while a job needs it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from taskserver.tools.call import Call
from taskserver.tools.context import Context
from taskserver.tools.lifespan import Resources
from taskserver.tools.lifetime import (
    Lifetime,
    enter,
    explaining,
    instance_of,
    is_awaitable,
    lifecycle_of,
    report_unclosed,
    settled,
)
from taskserver.tools.processes.reference import tool_at
from taskserver.tools.processes.wire import ToolReference
from taskserver.tools.targets import is_async
from taskserver.tools.tool import Tool

END_SECONDS = 1.0
"""How long the tasks that a job leaves behind may take to end."""

log = logging.getLogger("taskserver.worker")


class ProcessTools:
    """Imports tools, instantiates their classes, and calls them.

    Args:
        references: Where each tool is defined, by its name.
    """

    def __init__(self, references: Mapping[str, ToolReference]) -> None:
        self._loop = ToolLoop()
        self._stack = ExitStack()
        self._calls: dict[str, ProcessCall | BaseException] = {}
        self._lifetime: Lifetime | None = None
        for name, reference in references.items():
            try:
                self._calls[name] = call = ProcessCall(tool_at(reference), self._loop)
                call.open_sync(self._stack)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - raised to jobs that need the tool
                self._calls[name] = error
        if any(isinstance(call, ProcessCall) and call.needs_loop for call in self._calls.values()):
            self._loop.settle(self._start())

    async def _start(self) -> None:
        self._lifetime = Lifetime(self._open_async)
        await self._lifetime.start()

    async def _open_async(self, stack: AsyncExitStack) -> None:
        resources = Resources(stack)
        for name, call in self._calls.items():
            if isinstance(call, ProcessCall) and call.needs_loop:
                try:
                    await call.open(resources)
                except Exception as error:  # noqa: BLE001 - as above
                    self._calls[name] = error

    def broken(self, name: str) -> BaseException | None:
        """Why the tool cannot be called; None if it can."""
        call = self._calls[name]
        return call if isinstance(call, BaseException) else None

    def run(self, name: str, arguments: Mapping[str, Any], context: Context) -> Any:
        """Call a tool with a copy of the context variables, and return what it returns.

        Raises:
            ArgumentsInvalid: if the arguments do not match the tool's signature; the tool was not called.
        """
        call = self._calls[name]
        assert isinstance(call, ProcessCall)  # noqa: S101 - it is not broken
        return call.run_blocking(arguments, context)

    @property
    def spent(self) -> bool:
        """Whether this process must not run another job: a task of the last one refuses to end."""
        return self._loop.spent

    def close(self) -> None:
        """Close what was instantiated, and the event loop."""
        if self._lifetime is not None:
            self._loop.settle(self._lifetime.stop())
        self._stack.close()
        self._loop.close()


class ToolLoop:
    """The event loop of a tool process: one job runs in it at a time.

    Attributes:
        spent: Whether a task of a job has refused to end.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.spent = False

    def settle(self, result: Any) -> Any:
        """What a call returns in the end."""
        return self._runner.run(settled(result)) if is_awaitable(result) else result

    def settle_job(self, result: Any, variables: contextvars.Context) -> Any:
        """As ``settle``. Tasks that the job leaves behind are cancelled: they would run beside the next jobs."""
        return self._runner.run(self._alone(result), context=variables) if is_awaitable(result) else result

    async def _alone(self, result: Any) -> Any:
        before = asyncio.all_tasks()
        try:
            return await settled(result)
        finally:
            await self._end(asyncio.all_tasks() - before)
            self.spent = not asyncio.all_tasks() <= before

    async def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        if tasks:
            log.warning("tasks that the job has left behind are cancelled: %d", len(tasks))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=END_SECONDS)

    def close(self) -> None:
        """Close it; what refuses to end, ends with the process."""
        if self.spent:
            self._runner.get_loop().close()
        else:
            self._runner.close()


class ProcessCall(Call):
    """Calls one tool in a tool process.

    Attributes:
        needs_loop: Whether something has to be opened in the event loop, by ``open``.
    """

    __slots__ = ("_instance", "_loop", "needs_loop")

    def __init__(self, tool: Tool, loop: ToolLoop) -> None:
        super().__init__(tool)
        self._loop = loop
        self._instance: Any = None
        self.needs_loop = bool(tool.resources) or (inspect.isclass(tool.target) and is_async(tool.target))

    def open_sync(self, stack: ExitStack) -> None:
        """Do what must not be done in the event loop: instantiate a class whose ``run`` is sync.

        What closes the instance is put on the stack.

        Raises:
            ToolInvalid: if the class could not be instantiated.
        """
        target = self._tool.target
        if not inspect.isclass(target) or is_async(target):
            return
        self._instance = instance_of(target)
        self._call = self._instance.run
        if hasattr(target, "__aenter__"):
            self.needs_loop = True
        else:
            self._enter(target, stack)

    def _enter(self, target: type, stack: ExitStack) -> None:
        begin, end = lifecycle_of(self._instance)
        if begin is not None:
            with explaining(target):
                begin()
        if end is not None:
            stack.callback(self._close, target, end)

    async def instantiate(self, stack: AsyncExitStack) -> None:
        """Do what ``open_sync`` has not done, in the event loop.

        Raises:
            ToolInvalid: if the class could not be instantiated.
        """
        if self._instance is None:
            await super().instantiate(stack)
        elif hasattr(self._tool.target, "__aenter__"):
            await enter(self._instance, stack)

    def _close(self, target: type, end: Callable[[], Any]) -> None:
        try:
            self._loop.settle(end())
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the others have to be closed as well
            report_unclosed(target, error)

    def run_blocking(self, arguments: Mapping[str, Any], context: Context) -> Any:
        """Call the tool with a copy of the context variables, and return what it returns.

        Raises:
            ArgumentsInvalid: if the arguments do not match the tool's signature; the tool was not called.
        """
        variables = contextvars.copy_context()
        result = variables.run(lambda: self._call(**self.values(arguments, context)))
        return self._loop.settle_job(result, variables)
