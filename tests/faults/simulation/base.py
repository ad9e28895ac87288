"""What the rules share: the broker, the model, and the comparison of both after every call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition

from taskserver.domain.job import State
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs.claim import StreamEntry
from tests.faults.simulation.model import Job, Model
from tests.faults.simulation.snapshot import Snapshot, take_snapshot
from tests.store.harness import QUEUE, Queue

WORKERS = ("w1", "w2", "w3")
JOBS = 6
NUMBER = st.integers(0, 7)
WORKER = st.sampled_from(WORKERS)
ENDED = tuple(state for state in State if state.ended)


def where_a_job_is(*states: State | None) -> Any:
    """The rule means nothing unless a job is in one of these states."""
    return precondition(lambda self: self.model.in_state(*states))


async def _in_time(work: Coroutine[Any, Any, Any]) -> Any:
    """What spins, or waits for ever, fails."""
    async with asyncio.timeout(20):
        return await work


class Base(RuleBasedStateMachine):
    """One queue, three workers, two clients, and a few jobs.

    Attributes:
        url: The broker; set by a subclass.
        queue: The queue, over the connection of workers and the first client.
        clients: The same queue over the connection of either client.
        last_report: Number of the last report of any attempt.
        unbegun: Entries that workers have read and not begun.
    """

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.unbegun: list[tuple[str, StreamEntry]] = []
        self.last_report = 0
        self.backups: dict[str, bytes | None] = {}
        brokers = [Broker(self.url), Broker(self.url)]
        self.clients = [Queue(broker) for broker in brokers]
        self.queue = self.clients[0]
        self.reader = self.queue.broker.connections.threaded(self.queue.broker.url)
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.queue.redis.flushall()
        await self.queue.broker.prepare(QUEUE)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(_in_time(work))

    def call(self, script: str, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something that calls ``script``, and see that only its transition has happened."""
        answer = self.run(work)
        self.compare(script)
        return answer

    def compare(self, script: str = "") -> Snapshot:
        snapshot = self.snapshot()
        self.model.compare(snapshot, script)
        return snapshot

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.reader, self.queue.keys, self.model.jobs)

    def pick(self, number: int, *states: State | None) -> Job:
        """One of the jobs in these states, or of all; there must be one."""
        found = self.model.in_state(*states) if states else list(self.model.jobs.values())
        return found[number % len(found)]

    def close(self) -> None:
        for client in self.clients:
            self.run(client.broker.close())
        self.reader.close()
        self.runner.close()
