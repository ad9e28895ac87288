"""Renewing leases from a thread, so that heartbeats continue while the event loop is busy or blocked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from taskserver.errors import BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.connections import ANSWER_SECONDS
from taskserver.store.broker.script_connection import run_in_thread
from taskserver.store.replies import decode_pairs
from taskserver.store.scripts import script

CLAIMED = 1_000
"""Maximum number of jobs that one claim brings."""
BATCH = 500
"""Leases renewed by one call: more would block the server for too long."""


class Attention(NamedTuple):
    """A running job that needs its worker's attention: it was ``lost`` to another worker, or is to ``cancel``."""

    key: str
    reason: str


class LeaseKeeper:
    """Renews leases over connections of its own. Use it from one thread.

    Args:
        broker: Where.
        worker: The worker whose leases they are.
        answer_seconds: Maximum time to wait for an answer, if that is less than for other calls.
    """

    def __init__(self, broker: Broker, worker: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._broker = broker
        self._worker = worker
        self._answer_seconds = answer_seconds
        self._clients: dict[str, redis.Redis] = {}
        self._silent: set[str] = set()

    def begin(self) -> None:
        """Begin a new heartbeat: servers that did not answer are asked again."""
        self._silent.clear()

    def renew(self, queue: str, running: Sequence[tuple[str, int]], snapshot: bytes, valid_ms: int) -> list[Attention]:
        """Renew the leases of running jobs and report that the worker is alive.

        Args:
            queue: The jobs' queue.
            running: Key and fence of each.
            snapshot: The worker's packed ``WorkerSnapshot``.
            valid_ms: How long the worker counts as alive, in milliseconds.

        Raises:
            BrokerUnavailable: if the queue's server did not answer now, or earlier in this heartbeat.
        """
        attention: list[Attention] = []
        for start in range(0, max(1, len(running)), BATCH):
            attention += self._renew_batch(queue, running[start : start + BATCH], snapshot, valid_ms)
        return attention

    def _renew_batch(
        self, queue: str, running: Sequence[tuple[str, int]], snapshot: bytes, valid_ms: int
    ) -> list[Attention]:
        args = [self._worker, snapshot, valid_ms, *(value for pair in running for value in pair)]
        return [Attention(key, reason) for key, reason in decode_pairs(self._call("renew", queue, *args))]

    def hold(self, queue: str, since_ms: int) -> None:
        """Renew the leases of what a claim has given to this worker, whose answer has not arrived yet.

        Args:
            queue: The jobs' queue.
            since_ms: Leases that were renewed within this time are left alone.

        Raises:
            BrokerUnavailable: if the queue's server did not answer.
        """
        self._call("hold", queue, self._worker, since_ms, CLAIMED)

    def _call(self, name: str, queue: str, *args: Any) -> Any:
        keys = self._broker.keys(queue)
        with self._broker.translated():
            server = self._broker.server_for_thread(keys.prefix)
        if server in self._silent:  # do not wait for it once per queue
            raise BrokerUnavailable(f"the broker at {self._broker.shown} does not answer")
        try:
            with self._broker.translated():
                return run_in_thread(self._client(server), script(name), keys.of_scripts, args)
        except BrokerUnavailable:
            self._silent.add(server)
            raise

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def _client(self, server: str) -> redis.Redis:
        if server not in self._clients:
            self._clients[server] = self._broker.connections.threaded(server, self._answer_seconds)
        return self._clients[server]


def announce(broker: Broker, worker: str, queues: Sequence[str], snapshot: bytes, valid_ms: int) -> None:
    """Report that a worker is alive before it does anything in its queues, or janitors would take it for gone.

    Raises:
        BrokerUnavailable: if the broker does not answer.
    """
    keeper = LeaseKeeper(broker, worker)
    try:
        for queue in queues:
            keeper.renew(queue, [], snapshot, valid_ms)
    finally:
        keeper.close()
