"""Lanes: the streams of one queue, and how free slots are shared among them so that none starves.

Jobs wait in ``high``, ``normal`` or ``low``. A fourth lane, ``returned``, holds jobs that were claimed before and came
back because their worker died or was stopped. They go first, since they have waited already. They cannot starve the
other lanes: a job returns at most once per attempt.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from taskserver.errors import ConfigError

RETURNED = "returned"
LANES = ("high", "normal", "low")
WEIGHTS = {"high": 6, "normal": 3, "low": 1}

PRIORITIES = range(1, 11)
DEFAULT_LANE = "normal"


def lane_for(priority: int | str | None) -> str:
    """The lane for a priority: a lane's name, or 1 (most urgent) to 10; None is normal.

    1 to 3 are ``high``, 4 to 7 ``normal``, 8 to 10 ``low``.

    Raises:
        ConfigError: for anything else.
    """
    if priority is None:
        return DEFAULT_LANE
    if isinstance(priority, str) and priority in LANES:
        return priority
    if isinstance(priority, int) and not isinstance(priority, bool) and priority in PRIORITIES:
        return "high" if priority <= 3 else "normal" if priority <= 7 else "low"
    raise ConfigError(
        f"priority must be between 1 (most urgent) and 10, or one of {', '.join(LANES)}; not {priority!r}"
    )


def _cycle() -> tuple[str, ...]:
    """Ten turns in which each lane comes as often as its weight says, spread out (smooth weighted round robin)."""
    total = sum(WEIGHTS.values())
    credit = dict.fromkeys(LANES, 0)
    turns = []
    for _ in range(total):
        for lane in LANES:
            credit[lane] += WEIGHTS[lane]
        best = max(LANES, key=credit.__getitem__)
        credit[best] -= total
        turns.append(best)
    return tuple(turns)


class LaneQuotas(NamedTuple):
    """Maximum number of jobs to take from each lane, in the order of ``LANES``."""

    high: int
    normal: int
    low: int


CYCLE = _cycle()


@lru_cache(maxsize=4096)  # each claim asks
def lane_quotas(turn: int, slots: int) -> LaneQuotas:
    """How many jobs to take from each lane for the next ``slots`` free slots, beginning with this turn of ``CYCLE``.

    Each free slot is one turn of the weighted cycle, so over ten slots ``high`` gets 6, ``normal`` 3 and ``low`` 1,
    however few are free at a time. The claim script gives turns that a lane has no job for to the others, so no slot
    stays free while any job waits.
    """
    rounds, rest = divmod(slots, len(CYCLE))
    quota = {lane: rounds * weight for lane, weight in WEIGHTS.items()}
    for step in range(rest):
        quota[CYCLE[(turn + step) % len(CYCLE)]] += 1
    return LaneQuotas(**quota)
