"""Keeping leases from a thread: heartbeats go on while the event loop is busy or blocked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import redis

from taskserver.errors import BrokerUnavailable
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.connections import ANSWER_SECONDS
from taskserver.store.broker.script_connection import run_in_thread
from taskserver.store.replies import decode_pairs
from taskserver.store.scripts import script


class Attention(NamedTuple):
    """A running job that needs the worker's attention: it was ``lost`` to another, or asked to ``cancel``."""

    key: str
    reason: str


class LeaseKeeper:
    """Renews leases over connections that nothing else uses. Use it from one thread.

    Args:
        broker: Where.
        worker: Whose.
        answer_seconds: How long an answer may take, if that is less than for other calls.
    """

    def __init__(self, broker: Broker, worker: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._broker = broker
        self._worker = worker
        self._answer_seconds = answer_seconds
        self._clients: dict[str, redis.Redis] = {}
        self._silent: set[str] = set()

    def begin(self) -> None:
        """A new beat begins: servers that did not answer are asked again."""
        self._silent.clear()

    def renew(self, queue: str, running: Sequence[tuple[str, int]], about: bytes, valid_ms: int) -> list[Attention]:
        """Renew the leases of ``running`` (key, fence) and say that the worker is alive.

        Args:
            queue: The jobs' queue.
            running: Keys and fences.
            about: What the worker says of itself, packed.
            valid_ms: For how long that holds, in milliseconds.

        Raises:
            BrokerUnavailable: if its server did not answer, be it only now or in this beat already; try again soon.
        """
        args = [self._worker, about, valid_ms, *(value for pair in running for value in pair)]
        prefix = self._broker.keys(queue).prefix
        with self._broker.translated():
            server = self._broker.server_for_thread(prefix)
        if server in self._silent:  # its other queues need not wait for it as long, one after the other
            raise BrokerUnavailable(f"the broker at {self._broker.shown} does not answer")
        try:
            with self._broker.translated():
                answer = run_in_thread(self._client(server), script("renew"), prefix, args)
        except BrokerUnavailable:
            self._silent.add(server)
            raise
        return [Attention(key, reason) for key, reason in decode_pairs(answer)]

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def _client(self, server: str) -> redis.Redis:
        if server not in self._clients:
            self._clients[server] = self._broker.connections.threaded(server, self._answer_seconds)
        return self._clients[server]


def announce(broker: Broker, worker: str, queues: Sequence[str], about: bytes, valid_ms: int) -> None:
    """Say that a worker is alive in queues before it does anything there: else janitors take it for one that is gone.

    Raises:
        BrokerUnavailable: if the broker does not answer.
    """
    keeper = LeaseKeeper(broker, worker)
    try:
        for queue in queues:
            keeper.renew(queue, [], about, valid_ms)
    finally:
        keeper.close()
