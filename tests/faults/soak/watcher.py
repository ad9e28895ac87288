"""The watcher looks at jobs all the time: at those that are told to have ended, and at all of them in turn.

Once it has seen a job's end, that end must stay: the same state, the same moment, the same outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import redis

from taskserver.domain.job import ENDED
from taskserver.store.keys import Keys
from taskserver.store.queries.outcomes import ended_jobs
from tests.faults.soak.ledger import Ledger
from tests.faults.soak.server import SoakServer

PAGE = 500
PAGE_SECONDS = 0.1
QUEUE = Keys("default")
FIELDS = ("state", "ended", "fence", "data")


class Watcher:
    """Writes down each job's end when it first sees it, and whatever it sees in its place later."""

    def __init__(self, server: SoakServer, ledger: Ledger) -> None:
        self._server = server
        self._ledger = ledger
        self.ends: dict[str, str] = {}

    async def listen(self) -> None:
        """Look at jobs that are told to have ended; until cancelled."""
        await self._again_and_again(self._listen)

    async def walk(self) -> None:
        """Look at all jobs in turn; until cancelled."""
        await self._again_and_again(self._walk)

    async def _again_and_again(self, once: Any) -> None:
        while True:
            with suppress(redis.RedisError, OSError):
                async with self._server.admin() as client:
                    await once(client)
            await asyncio.sleep(PAGE_SECONDS)

    async def _listen(self, client: Any) -> None:
        async with client.pubsub() as subscription:
            await subscription.psubscribe(QUEUE.done("*"))
            while True:
                message = await subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
                if message and (ended := [key for key, _ in ended_jobs(message["data"])]):
                    await self._look(client, ended)

    async def _walk(self, client: Any) -> None:
        prefix, cursor = QUEUE.job(""), 0
        while True:
            cursor, names = await client.scan(cursor, match=f"{prefix}*", count=PAGE)
            await self._look(client, [name.decode()[len(prefix) :] for name in names])
            await asyncio.sleep(PAGE_SECONDS)

    async def _look(self, client: Any, keys: Iterable[str]) -> None:
        keys = list(keys)
        for key, end in zip(keys, await stamps(client, keys), strict=True):
            self._note(f"default-{key}", end)

    def _note(self, job: str, end: str) -> None:
        """A job that has not ended is worth a line only if it had been seen to end."""
        before = self.ends.get(job)
        if end == before or (before is None and has_not_ended(end)):
            return
        self.ends[job] = end
        self._ledger.write("seen", job=job, end=end)


async def stamps(client: Any, keys: list[str]) -> list[str]:
    """For each job its state, when it ended (milliseconds), its fence, and a digest of a short outcome."""
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(QUEUE.job(key), *FIELDS)
        return [_stamp(*values) for values in await pipe.execute()]


def _stamp(state: bytes | None, ended: bytes | None, fence: bytes | None, data: bytes | None) -> str:
    if state is None:
        return "gone"
    if state.decode() not in ENDED:
        return state.decode()
    digest = hashlib.blake2b(data or b"", digest_size=4).hexdigest()
    return f"{state.decode()} {(ended or b'0').decode()} {(fence or b'0').decode()} {digest}"


def has_not_ended(stamp: str) -> bool:
    """Whether a stamp is that of a job that is live, or gone."""
    return " " not in stamp


def ended_at(stamp: str) -> float:
    """When the job of a stamp ended, in seconds since 1970; never, if it has not."""
    return float("inf") if has_not_ended(stamp) else int(stamp.split()[1]) / 1000


def fence_of(stamp: str) -> int:
    """The fence in the stamp of a job that has ended."""
    return int(stamp.split()[2])
