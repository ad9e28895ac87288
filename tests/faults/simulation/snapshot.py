"""What the broker holds at one moment: every job's record, the lanes with their groups, the sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from redis import Redis

from taskserver.domain.job import State
from taskserver.domain.lanes import LANES, RETURNED
from taskserver.store.keys import GROUP, Keys

STATES = {state.value: state for state in State}
ALL_LANES = (RETURNED, *LANES)
LAST_ID = "18446744073709551615-18446744073709551615"
StreamId = tuple[int, int]


def stream_id(text: bytes | str) -> StreamId:
    time, _, sequence = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(time), int(sequence)


class Lane(NamedTuple):
    """A stream: its entries, up to where its group has read (None without one), and who has what pending."""

    entries: set[StreamId]
    read: StreamId | None
    pending: dict[StreamId, str]


class Snapshot(NamedTuple):
    """Records by key (None: no hash is there), lanes by name, and the members of the sets."""

    records: dict[str, dict[bytes, bytes] | None]
    lanes: dict[str, Lane]
    delayed: set[str]
    expiring: set[str]
    dead: set[str]

    def state(self, key: str) -> State | None:
        """The job's state; None if its record is gone, or says none."""
        word = (self.records[key] or {}).get(b"state", b"").decode("utf-8", "replace")
        return STATES.get(word)

    def fence(self, key: str) -> bytes:
        return (self.records[key] or {}).get(b"fence", b"")

    def holder(self, key: str) -> str | None:
        """For whom the job's live entry is pending."""
        where = self._place(key)
        return where and self.lanes[where[0]].pending.get(where[1])

    def is_read(self, key: str) -> bool:
        """Whether somebody has read the job's live entry, and it will not be delivered again."""
        where = self._place(key)
        if where is None or where[1] not in self.lanes[where[0]].pending:
            return False
        read = self.lanes[where[0]].read
        return read is not None and where[1] <= read

    def is_awake(self, key: str) -> bool:
        """Whether the job's live entry is pending, or will be delivered."""
        where = self._place(key)
        if where is None:
            return False
        lane, id_ = self.lanes[where[0]], where[1]
        return id_ in lane.entries and (id_ in lane.pending or lane.read is None or id_ > lane.read)

    def left(self) -> dict[str, Any]:
        """What waits or is pending."""
        lanes = {name: lane for name, lane in self.lanes.items() if lane.entries or lane.pending}
        return {**lanes, **({"delayed": self.delayed} if self.delayed else {})}

    def _place(self, key: str) -> tuple[str, StreamId] | None:
        lane, _, id_ = (self.records[key] or {}).get(b"entry", b"").decode("utf-8", "replace").partition("/")
        try:
            return (lane, stream_id(id_)) if lane in self.lanes else None
        except ValueError:
            return None


def take_snapshot(redis: Redis, keys: Keys, jobs: Iterable[str]) -> Snapshot:
    """One round trip. A key of the wrong type counts as none."""
    jobs = list(jobs)
    with redis.pipeline(transaction=False) as pipe:
        for key in jobs:
            pipe.hgetall(keys.job(key))
        for lane in ALL_LANES:
            pipe.xrange(keys.lane(lane))
            pipe.xinfo_groups(keys.lane(lane))
            pipe.xpending_range(keys.lane(lane), GROUP, "-", "+", 1_000)
        for name in (keys.delayed, keys.expiring, keys.dead):
            pipe.zrange(name, 0, -1)
        answers = pipe.execute(raise_on_error=False)
    records = [None if isinstance(answer, Exception) else answer for answer in answers[: len(jobs)]]
    rest = [[] if isinstance(answer, Exception) else answer for answer in answers[len(jobs) :]]
    return Snapshot(
        records=dict(zip(jobs, records, strict=True)),
        lanes={lane: _lane(*rest[3 * i : 3 * i + 3]) for i, lane in enumerate(ALL_LANES)},
        **{
            name: {member.decode() for member in rest[i]}
            for i, name in ((-3, "delayed"), (-2, "expiring"), (-1, "dead"))
        },
    )


def _lane(entries: list[Any], groups: list[Any], pending: list[Any]) -> Lane:
    read = [stream_id(group["last-delivered-id"]) for group in groups if group["name"] == GROUP.encode()]
    return Lane(
        entries={stream_id(id_) for id_, _ in entries},
        read=read[0] if read else None,
        pending={stream_id(item["message_id"]): item["consumer"].decode("utf-8", "replace") for item in pending},
    )
