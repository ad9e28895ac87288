"""Bringing up everything that a configuration file declares: brokers first, then task servers, all or nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from taskserver.aio import cancel_and_wait, unless
from taskserver.config.file import load
from taskserver.config.settings import settings
from taskserver.embedded import EmbeddedBroker
from taskserver.fleet.event_loop import run_loop
from taskserver.fleet.planning import ServerPlan, plan_servers
from taskserver.fleet.signals import prepare_signals
from taskserver.fleet.supervisor import Supervisor
from taskserver.fleet.supervisor.process import ReportReady, host
from taskserver.fleet.supervisor.targets import updated_targets
from taskserver.fleet.up_state import ServerState, UpFolder, UpState
from taskserver.observability.logging import configure
from taskserver.observability.phrases import count, listed
from taskserver.store.broker.health import check_suitable
from taskserver.store.broker.opening import open_broker
from taskserver.store.broker.urls import without_secrets

WRITE_SECONDS = 0.5
"""How often the state file is written: which replicas are ready."""

Announce = Callable[[str], None]
"""Takes each step of ``up``, as one line of text."""


def run_up(file: str, modules: tuple[str, ...], announce: Announce, report_ready: ReportReady | None = None) -> int:
    """Bring a file up in this process until a signal ends it, and return the exit code for this process.

    Args:
        file: The configuration file.
        modules: Tools for task servers that name none.
        announce: Called with each step.
        report_ready: Called with the running file when it starts; runs beside it.

    Raises:
        TaskServerError: if the file, or something in it, cannot be brought up.
    """
    plans = plan_servers(load(file), modules)
    folder = UpFolder.of(file)
    with folder.hold(file):
        prepare_signals()
        configure(settings().loglevel)
        return run_loop(_run_up(file, plans, folder, announce, report_ready))


async def _run_up(
    file: str, plans: Sequence[ServerPlan], folder: UpFolder, announce: Announce, report_ready: ReportReady | None
) -> int:
    running = RunningFile(file, plans, folder, announce)
    return await host(running, [] if report_ready is None else [report_ready(running)])


class RunningFile:
    """What a configuration file declares, running in this process.

    Args:
        file: The file.
        plans: Its task servers.
        folder: Where the state is written; held by the caller.
        announce: Called with each step.

    Attributes:
        name: The file.
        ready: Set once everything is up.
    """

    def __init__(self, file: str, plans: Sequence[ServerPlan], folder: UpFolder, announce: Announce) -> None:
        self.name = file
        self.ready = asyncio.Event()
        self._plans = plans
        self._folder = folder
        self._announce = announce
        self._since = time.time()
        self._supervisors = [Supervisor(plan.assignment, plan.replicas) for plan in plans]
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Drain everything; called again, do not wait for running jobs."""
        if not self._stopping.is_set():
            self._announce("stopping: waiting for running jobs; a second signal hands them back")
        self._stopping.set()
        for supervisor in self._supervisors:
            supervisor.stop()

    def restart(self) -> None:
        """Replace the replicas of every task server, one after the other."""
        for supervisor in self._supervisors:
            supervisor.restart()

    async def until_stopping(self) -> None:
        """Wait until it stops."""
        await self._stopping.wait()

    async def run(self) -> None:
        """Bring everything up, and keep it up until ``stop``.

        Raises:
            TaskServerError: if something cannot start; nothing else is left running then.
        """
        async with AsyncExitStack() as stack:
            for plan, supervisor in zip(self._plans, self._supervisors, strict=True):
                await stack.enter_async_context(updated_targets(supervisor, plan.assignment, plan.metrics_targets))
            self._write_state()
            if await unless(self._stopping, self._start_brokers(stack)):
                await self._run_supervisors()
        self._announce(f"{self.name} is down")

    async def _start_brokers(self, stack: AsyncExitStack) -> None:
        """Start the embedded brokers, and check that the others answer and are suitable."""
        for plan in {(plan.broker, plan.url, plan.home): plan for plan in self._plans}.values():
            name = f"broker {plan.broker}" if plan.broker else "broker"
            if plan.home is not None:
                held = await asyncio.to_thread(EmbeddedBroker.acquire, plan.home)
                stack.callback(held.release)
                self._announce(f"{name}: embedded, in {plan.home}")
            else:
                async with open_broker(plan.url, EmbeddedBroker.acquire) as broker:
                    await check_suitable(broker)
                self._announce(f"{name}: {without_secrets(plan.url or '')}")

    async def _run_supervisors(self) -> None:
        running = [asyncio.create_task(supervisor.run()) for supervisor in self._supervisors]
        watching = [asyncio.create_task(self._announce_ready()), asyncio.create_task(self._keep_state_written())]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await cancel_and_wait(*watching)
            if failed := [task for task in running if task.done() and not task.cancelled() and task.exception()]:
                for _ in range(2):  # the second time, they do not wait for running jobs
                    for supervisor in self._supervisors:
                        supervisor.stop()
            await asyncio.gather(*running, return_exceptions=True)
        for task in failed:
            task.result()

    async def _announce_ready(self) -> None:
        """Announce each task server that is ready, and then that all are."""

        async def announce_each(plan: ServerPlan, supervisor: Supervisor) -> None:
            await supervisor.ready.wait()
            queues = listed("queue", plan.assignment.worker.queues)
            self._announce(f"task server {plan.name}: {count(plan.replicas, 'replica')} ready, {queues}")

        await asyncio.gather(*map(announce_each, self._plans, self._supervisors))
        self._write_state()
        self._announce(f"{self.name} is up" + ("; press Ctrl-C to stop it" if sys.stderr.isatty() else ""))
        self.ready.set()

    async def _keep_state_written(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            self._write_state()

    def _write_state(self) -> None:
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
        self._folder.write_state(
            UpState(file=os.path.abspath(self.name), pid=os.getpid(), since=self._since, servers=servers)
        )
