"""Bringing up all resources of a configuration file: brokers first, then task servers, all or nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from taskserver.aio import cancel_and_wait
from taskserver.embedded import EmbeddedBroker
from taskserver.fleet.planning import Plan
from taskserver.fleet.runtime import handling
from taskserver.fleet.service_manager import notify_service_manager
from taskserver.fleet.supervisor import Supervisor
from taskserver.fleet.supervisor.reaper import inherits_orphans, reap_orphans
from taskserver.fleet.supervisor.targets import tell_targets
from taskserver.fleet.up_state import ServerState, UpFolder, UpState
from taskserver.observability.discovery import remove_targets, write_targets
from taskserver.store.broker.health import check_suitable
from taskserver.store.broker.opening import open_broker
from taskserver.store.broker.urls import without_secrets

LOOK_SECONDS = 0.5
"""How often it is written down which replicas are ready."""

Tell = Callable[[str], None]


class Up:
    """What a file declares, running here.

    Args:
        file: The file.
        plans: Its task servers.
        place: Where it is written down what is up; held by the caller.
        tell: Called with each step, in a sentence.

    Attributes:
        ready: Set once everything is up.
    """

    def __init__(self, file: str, plans: Sequence[Plan], place: UpFolder, tell: Tell) -> None:
        self.ready = asyncio.Event()
        self._file = file
        self._plans = plans
        self._place = place
        self._tell = tell
        self._since = time.time()
        self._supervisors = [Supervisor(plan.assignment, plan.replicas) for plan in plans]
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let everything drain; called again, do not wait."""
        if not self._stopping.is_set():
            self._tell("stopping: running jobs may end; once more, and they are handed back")
        self._stopping.set()
        for supervisor in self._supervisors:
            supervisor.stop()

    def restart(self) -> None:
        """Replace the replicas of every task server, one after the other."""
        for supervisor in self._supervisors:
            supervisor.restart()

    async def run(self) -> None:
        """Bring everything up, and keep it so until ``stop``.

        Raises:
            TaskServerError: if something cannot start; nothing of the rest is left running then.
        """
        for plan in self._plans:
            if plan.metrics_targets:
                write_targets(
                    Path(plan.metrics_targets), {}
                )  # whether it can be written is told before anything starts
        self._write()
        beside = [asyncio.create_task(notify_service_manager(self.ready.wait, self._stopping.wait))]
        if inherits_orphans():
            beside.append(asyncio.create_task(reap_orphans()))
        for plan, supervisor in zip(self._plans, self._supervisors, strict=True):
            if plan.metrics_targets:
                telling = tell_targets(supervisor, plan.assignment, Path(plan.metrics_targets))
                beside.append(asyncio.create_task(telling))
        try:
            with handling(self._handlers()):
                async with AsyncExitStack() as stack:
                    if await self._unless_stopped(self._brokers(stack)):
                        await self._serve()
        finally:
            await cancel_and_wait(*beside)
            for plan in self._plans:
                if plan.metrics_targets:  # also where nothing came so far as to keep it
                    remove_targets(Path(plan.metrics_targets))
        self._tell(f"{self._file} is down")

    async def _brokers(self, stack: AsyncExitStack) -> None:
        """Start the embedded brokers, and see whether the others answer and will do."""
        for plan in {(plan.broker, plan.url, plan.home): plan for plan in self._plans}.values():
            name = f"broker {plan.broker}" if plan.broker else "broker"
            if plan.home is not None:
                held = await asyncio.to_thread(EmbeddedBroker.acquire, plan.home)
                stack.callback(held.release)
                self._tell(f"{name}: embedded, in {plan.home}")
            else:
                async with open_broker(plan.url, EmbeddedBroker.acquire) as broker:
                    await check_suitable(broker)
                self._tell(f"{name}: {without_secrets(plan.url or '')}")

    async def _serve(self) -> None:
        running = [asyncio.create_task(supervisor.run()) for supervisor in self._supervisors]
        watching = [asyncio.create_task(self._announce()), asyncio.create_task(self._keep_written())]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await cancel_and_wait(*watching)
            if failed := [task for task in running if task.done() and not task.cancelled() and task.exception()]:
                for _ in range(2):  # nothing stays half started
                    for supervisor in self._supervisors:
                        supervisor.stop()
            await asyncio.gather(*running, return_exceptions=True)
        for task in failed:
            task.result()

    async def _announce(self) -> None:
        """Say which task servers are ready, and then that all are."""

        async def each(plan: Plan, supervisor: Supervisor) -> None:
            await supervisor.ready.wait()
            several = "replicas" if plan.replicas > 1 else "replica"
            queues = ", ".join(plan.assignment.worker.queues)
            self._tell(f"task server {plan.name}: {plan.replicas} {several} ready, on {queues}")

        await asyncio.gather(*map(each, self._plans, self._supervisors))
        self._write()
        self._tell(f"{self._file} is up; Ctrl-C ends it" if sys.stderr.isatty() else f"{self._file} is up")
        self.ready.set()

    async def _keep_written(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._write()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something, unless it is stopped meanwhile; whether it is done."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(stopped)
        if not task.done():
            await cancel_and_wait(task)
            return False
        task.result()
        return not self._stopping.is_set()

    def _write(self) -> None:
        servers = [
            ServerState(
                task_server=plan.name,
                wanted=supervisor.wanted,
                ready=len(supervisor.replicas),
                replica_pids=[replica.pid for replica in supervisor.replicas],
                queues=list(plan.assignment.worker.queues),
                broker=plan.broker,
            )
            for plan, supervisor in zip(self._plans, self._supervisors, strict=True)
        ]
        self._place.write(
            UpState(file=os.path.abspath(self._file), pid=os.getpid(), since=self._since, servers=servers)
        )

    def _handlers(self) -> dict[int, Callable[[int], None]]:
        at_terminal = sys.stderr.isatty()  # then SIGHUP says that it was closed
        hang_up = self.stop if at_terminal else self.restart
        return {
            signal.SIGTERM: lambda _: self.stop(),
            signal.SIGINT: lambda _: self.stop(),
            signal.SIGHUP: lambda _: hang_up(),
        }
