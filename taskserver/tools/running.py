"""The toolbox of a running worker: its resources are open, its consumers and the classes of its tools instantiated."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from taskserver.tools.consumer import BaseConsumer, ToolExecutionConsumer
from taskserver.tools.lifespan import Resources
from taskserver.tools.lifetime import Lifetime, opened
from taskserver.tools.loading import Consumer, Toolbox


class RunningToolbox:
    """Instantiates what a toolbox declares when a worker starts, and closes it when the worker has stopped.

    An instance that the toolbox was given belongs to whoever made it, and is not closed here.

    Args:
        toolbox: The declarations.

    Attributes:
        consumers: The consumers by the tag of their message type; empty until ``start``.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self.consumers: dict[str, BaseConsumer[Any]] = {}
        self._lifetime = Lifetime(self._open)

    async def start(self) -> None:
        """Instantiate everything: what is async in the running event loop, and sync tools in threads.

        Raises:
            ToolInvalid: if a class could not be instantiated.
        """
        await self._lifetime.start()

    async def stop(self) -> None:
        """Close everything, last first; harmless when repeated."""
        await self._lifetime.stop()

    async def _open(self, stack: AsyncExitStack) -> None:
        resources = Resources(stack)
        for lifespan in self._toolbox.lifespans:
            await resources.value(lifespan)
        for tag, declared in self._toolbox.consumers.items():
            consumer = await self._instance(declared, stack)
            if isinstance(consumer, ToolExecutionConsumer):
                await consumer.open(resources)
            self.consumers[tag] = consumer

    async def _instance(self, declared: Consumer, stack: AsyncExitStack) -> BaseConsumer[Any]:
        if isinstance(declared, BaseConsumer):
            return declared
        arguments = (self._toolbox.tools,) if issubclass(declared, ToolExecutionConsumer) else ()
        consumer: BaseConsumer[Any] = await opened(declared, stack, *arguments)
        return consumer
