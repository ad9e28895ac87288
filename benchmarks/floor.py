"""The floor under the worker: claim and finish in a bare loop, on one blocking connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from taskserver.domain.messages import JobSummary
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.script_connection import run_in_thread
from taskserver.store.scripts import script

KEPT = msgspec.msgpack.encode(JobSummary("noop", 1_700_000_000_000))


def drain_floor(
    broker: Broker, queue: str, jobs: int, at_a_time: int, ran: Callable[[int], object] = lambda _: None
) -> None:
    """Claim jobs and finish them with an empty result until all are done; ``ran`` hears of each batch."""
    client = broker.connections.threaded(broker.url)
    keys = broker.keys(queue).of_scripts
    claim, finish = script("claim"), script("finish")
    share = [at_a_time * part // 10 for part in (6, 3, 1)]
    while jobs > 0:
        _, _, claimed, _ = run_in_thread(client, claim, keys, ["floor", at_a_time, *share, 4])
        args: list[Any] = []
        for i in range(0, len(claimed), 6):
            args += (claimed[i], claimed[i + 2], claimed[i + 1], "succeeded", b"\xc0", claimed[i + 5], KEPT)
        ran(len(claimed) // 6)
        run_in_thread(client, finish, keys, args)
        jobs -= len(claimed) // 6
    client.close()
