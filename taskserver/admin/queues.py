"""Queues and their partitions: listed, paused, resumed, emptied, grown and forgotten."""

from __future__ import annotations

from taskserver.admin.connection import Connection
from taskserver.domain.names import check_queue_name
from taskserver.store.jobs import admin
from taskserver.store.maintenance import registry
from taskserver.store.maintenance.partitioning import set_count
from taskserver.store.queries import partitions, queues
from taskserver.store.queries.queues import QueueInfo


class QueueInspector(Connection):
    """Methods about queues."""

    async def queues(self, *, each_partition: bool = False) -> list[QueueInfo]:
        """Every queue with its figures, by name.

        Args:
            each_partition: Give each partition of a queue by itself, instead of their sum.
        """
        broker = await self._broker()
        known = await partitions.by_queue(broker)
        if each_partition:
            return [await queues.info(broker, part) for parts in known.values() for part in parts]
        return [await queues.combined_info(broker, name, parts) for name, parts in known.items()]

    async def queue(self, name: str) -> QueueInfo:
        """One queue with its figures.

        Raises:
            ConfigError: if there is no such queue.
        """
        broker = await self._broker()
        return await queues.combined_info(broker, name, await self._partitions(name))

    async def pause(self, queue: str) -> None:
        """Pause the queue: workers take no jobs from it until ``resume``; running jobs continue.

        Raises:
            ConfigError: if there is no such queue.
        """
        broker = await self._broker()
        for part in await self._partitions(queue):
            await admin.pause(broker, part)

    async def resume(self, queue: str) -> None:
        """Resume a paused queue; workers take jobs from it at once.

        Raises:
            ConfigError: if there is no such queue.
        """
        broker = await self._broker()
        for part in await self._partitions(queue):
            await admin.resume(broker, part)

    async def purge(self, queue: str) -> int:
        """Cancel every queued or delayed job of the queue; running jobs continue.

        Returns:
            How many jobs were cancelled.

        Raises:
            ConfigError: if there is no such queue.
        """
        broker = await self._broker()
        cancelled = 0
        with admin.counting_done(lambda: cancelled):
            for part in await self._partitions(queue):
                cancelled += await admin.purge(broker, part)
        return cancelled

    async def partitions(self, queue: str) -> int:
        """How many partitions the queue has.

        Raises:
            ConfigError: if there is no such queue.
        """
        return len(await self._partitions(queue))

    async def set_partitions(self, queue: str, count: int) -> None:
        """Grow the queue to ``count`` partitions; a queue that does not exist yet is created.

        Workers take jobs from new partitions within seconds, clients submit to them within a minute.

        Raises:
            ConfigError: if the name or the count is not valid, or the queue has more partitions: it cannot shrink.
        """
        await set_count(await self._broker(), check_queue_name(queue), count)

    async def forget(self, queue: str) -> bool:
        """Forget a queue that is empty and has been unused for 30 days. Workers do the same from time to time.

        Returns:
            Whether it is forgotten; a queue with jobs, workers or recent use is not.

        Raises:
            ConfigError: if there is no such queue.
        """
        broker = await self._broker()
        parts = await self._partitions(queue)
        return all([await registry.forget(broker, part) for part in parts])
