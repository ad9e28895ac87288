"""Which keys would stay in the broker for ever? Only a queue's own structures should, and the records of live jobs."""

from __future__ import annotations

import re

import redis

from taskserver.domain.job import ENDED

STRUCTURE = re.compile(r"ts:(queues|schema)|ts:\{[^}]+\}:(lane:(returned|high|normal|low)|delayed|expiring|dead|meta)")
RECORD = re.compile(r"(ts:\{[^}]+\}:)(?:job|msg):(.+)")


def leaked(url: str) -> list[str]:
    """The keys without a time to live that should have one, or should not be there."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        names = sorted(name for name in client.scan_iter(count=1_000) if client.ttl(name) == -1)
        return [name for name in names if not STRUCTURE.fullmatch(name) and not _is_live(client, name)]


def _is_live(client: redis.Redis, name: str) -> bool:
    record = RECORD.fullmatch(name)
    state = client.hget(f"{record[1]}job:{record[2]}", "state") if record else None
    return state is not None and state not in ENDED
