"""How each fault of the plan is done, and undone."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import redis

from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.keys import Keys
from tests.faults.soak.ledger import Ledger
from tests.faults.soak.plan import PROCESS_FAULTS, Step
from tests.faults.soak.processes import ProcessSlots
from tests.faults.soak.server import SoakServer

MEMORY_ROOM = 100_000
"""Bytes between what is used and what is allowed, when memory is to run out."""
HELD_BACK_SECONDS = 2.0
QUEUE = Keys("default")
STREAMS = [QUEUE.lane(lane) for lane in (RETURNED, *LANES)]


class Faults:
    """Inflicts the steps of a plan on the processes and the broker of a soak."""

    def __init__(self, server: SoakServer, workers: ProcessSlots, producers: ProcessSlots, ledger: Ledger) -> None:
        self._server = server
        self._workers = workers
        self._producers = producers
        self._ledger = ledger
        self.skipped: dict[str, str] = {}
        if not server.disk.small:
            self.skipped["fill disk"] = "it takes root to mount a small file system"

    async def carry_out(self, steps: Sequence[Step]) -> None:
        """One lane of a plan, step after step."""
        for step in steps:
            await asyncio.sleep(step.pause)
            if step.name in self.skipped:
                continue
            if step.name in PROCESS_FAULTS:
                await self._workers.any_ready()
            do: Callable[[Step], Awaitable[dict[str, Any] | None]] = getattr(self, f"_{step.name.replace(' ', '_')}")
            try:
                facts = await do(step)
            except (redis.RedisError, OSError) as error:  # the broker was busy with another trouble: no fault this time
                print(f"{step.name}: {error}", file=sys.stderr)
                facts = {"failed": str(error)}
            self._ledger.write("over", name=step.name, **(facts or {}))

    def undo(self) -> None:
        """Make sure that nothing is left of faults that were broken off."""
        self._workers.thaw()
        self._producers.thaw()
        self._server.signal(signal.SIGCONT)
        self._server.disk.free()
        self._server.wanted = True

    def _begin(self, step: Step, **facts: Any) -> None:
        self._ledger.write("fault", name=step.name, **facts)

    # Processes.

    async def _kill_worker(self, step: Step) -> None:
        self._hit(step, self._workers, signal.SIGKILL)

    async def _kill_producer(self, step: Step) -> None:
        self._hit(step, self._producers, signal.SIGKILL)

    async def _kill_all_workers(self, step: Step) -> None:
        for number in range(len(self._workers)):
            self._begin(step, pid=self._workers.signal(number, signal.SIGKILL))

    async def _terminate_worker(self, step: Step) -> None:
        self._hit(step, self._workers, signal.SIGTERM)

    async def _terminate_worker_twice(self, step: Step) -> None:
        hit = self._hit(step, self._workers, signal.SIGTERM)
        await asyncio.sleep(0.3)
        self._workers.signal(hit, signal.SIGTERM)

    async def _freeze_worker(self, step: Step) -> None:
        hit = self._hit(step, self._workers, signal.SIGSTOP)
        await asyncio.sleep(step.seconds)
        self._workers.signal(hit, signal.SIGCONT)

    def _hit(self, step: Step, slots: ProcessSlots, signum: int) -> int:
        hit = int(step.target * len(slots))
        self._begin(step, pid=slots.signal(hit, signum), seconds=step.seconds)
        return hit

    # The broker's process, disk and memory.

    async def _kill_broker(self, step: Step) -> None:
        self._begin(step, fsync=self._server.fsync)
        self._kill()
        await self._restart_after(step.seconds)

    async def _cut_power(self, step: Step) -> dict[str, Any]:
        self._begin(step, fsync=self._server.fsync)
        kept_until = self._server.cut_power()
        if kept_until is not None:
            self._ledger.write("cut", kept_until=kept_until)
        await self._restart_after(step.seconds)
        return {"kept_until": kept_until}

    async def _load_slowly(self, step: Step) -> None:
        self._begin(step, fsync=self._server.fsync)
        self._kill()
        await self._restart_after(0, "--key-load-delay", str(self._server.load_delay(step.seconds)))

    def _kill(self) -> None:
        """Without ``always``, the server holds writes back, for two seconds at most, while a sync is under way."""
        self._server.kill()
        if self._server.fsync != "always":
            self._ledger.write("cut", kept_until=time.time() - HELD_BACK_SECONDS)

    async def _restart_after(self, seconds: float, *options: str) -> None:
        await asyncio.sleep(seconds)
        await self._server.start(*options)
        self._server.wanted = True

    async def _freeze_broker(self, step: Step) -> None:
        self._begin(step)
        self._server.signal(signal.SIGSTOP)
        await asyncio.sleep(step.seconds)
        self._server.signal(signal.SIGCONT)

    async def _fill_disk(self, step: Step) -> None:
        """With ``appendfsync always`` the server ends itself; who keeps it starts it again and again."""
        self._begin(step, fsync=self._server.fsync)
        self._server.disk.fill()
        await asyncio.sleep(step.seconds)
        self._server.disk.free()
        async with asyncio.timeout(60):
            while not await self._answers():
                await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        with suppress(redis.RedisError, OSError):
            async with self._server.admin() as admin:
                return bool(await admin.ping())
        return False

    async def _fill_memory(self, step: Step) -> None:
        async with self._server.admin() as admin:
            used = (await admin.info("memory"))["used_memory"]
            self._begin(step, allowed=used + MEMORY_ROOM)
            await admin.config_set("maxmemory", used + MEMORY_ROOM)
            await asyncio.sleep(step.seconds)
            await admin.config_set("maxmemory", 0)

    # What an operator, or an accident, may do to a live broker.

    async def _flush_scripts(self, step: Step) -> None:
        self._begin(step)
        async with self._server.admin() as admin:
            await admin.script_flush()

    async def _cut_connections(self, step: Step) -> None:
        await self._order(step, "CLIENT", "KILL", "TYPE", "normal")

    async def _cut_subscriptions(self, step: Step) -> None:
        await self._order(step, "CLIENT", "KILL", "TYPE", "pubsub")

    async def _pause_clients(self, step: Step) -> None:
        await self._order(step, "CLIENT", "PAUSE", round(step.seconds * 1000), "ALL" if step.target < 0.5 else "WRITE")
        await asyncio.sleep(step.seconds)

    async def _delete_streams(self, step: Step) -> None:
        await self._order(step, "DEL", *STREAMS)

    async def _destroy_groups(self, step: Step) -> None:
        self._begin(step)
        async with self._server.admin() as admin:
            for stream in STREAMS:
                await admin.xgroup_destroy(stream, "workers")

    async def _delete_consumers(self, step: Step) -> None:
        """Each consumer of each stream, or not, by the toss of a coin."""
        coin = random.Random(step.target)
        self._begin(step)
        async with self._server.admin() as admin:
            for stream in STREAMS:
                for consumer in await admin.xinfo_consumers(stream, "workers"):
                    if coin.random() < 0.5:
                        await admin.xgroup_delconsumer(stream, "workers", consumer["name"])

    async def _trim_streams(self, step: Step) -> None:
        self._begin(step)
        async with self._server.admin() as admin:
            for stream in STREAMS:
                await admin.xtrim(stream, maxlen=0, approximate=False)

    async def _run_endless_script(self, step: Step) -> None:
        self._begin(step)
        async with self._server.admin() as victim, self._server.admin() as admin:
            endless = asyncio.create_task(victim.eval("while true do end", 0))
            await asyncio.sleep(max(0.5, step.seconds))
            await admin.script_kill()
            with suppress(redis.RedisError):
                await endless

    async def _order(self, step: Step, *command: Any) -> None:
        self._begin(step, command=" ".join(map(str, command)))
        async with self._server.admin() as admin:
            await admin.execute_command(*command)
