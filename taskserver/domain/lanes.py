"""Lanes: the streams of one queue, and how free slots are shared among them so that none starves.

Jobs wait in ``high``, ``normal`` or ``low``. A fourth lane, ``returned``, holds jobs that had already been
claimed once and came back (their worker died or was stopped): they go first, since they have waited before.
It cannot starve the others, for a job returns at most once per attempt.
"""

from __future__ import annotations

from taskserver.errors import ConfigError

RETURNED = "returned"
LANES = ("high", "normal", "low")
WEIGHTS = {"high": 6, "normal": 3, "low": 1}

PRIORITIES = range(1, 11)
DEFAULT_LANE = "normal"


def lane_for(priority: int | str | None) -> str:
    """The lane for a priority: a lane's name, or 1 (most urgent) to 10; None is normal.

    1 to 3 are ``high``, 4 to 7 ``normal`` (5 is the seed system's default), 8 to 10 ``low``.

    Raises:
        ConfigError: for anything else.
    """
    if priority is None:
        return DEFAULT_LANE
    if isinstance(priority, str) and priority in LANES:
        return priority
    if isinstance(priority, int) and not isinstance(priority, bool) and priority in PRIORITIES:
        return "high" if priority <= 3 else "normal" if priority <= 7 else "low"
    raise ConfigError(f"priority {priority!r} is neither 1 (most urgent) to 10 nor one of {', '.join(LANES)}")


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


class LaneShare:
    """Says how many jobs to take from each lane, claim after claim.

    Each free slot is one turn of the weighted cycle, so over ten slots ``high`` gets 6, ``normal`` 3 and
    ``low`` 1, however few are free at a time. A lane without jobs passes its turns on (the claim script
    fills up in the order of the lanes), so no slot stays empty while anything waits.
    """

    CYCLE = _cycle()

    def __init__(self) -> None:
        self._turn = 0

    def next(self, slots: int) -> tuple[int, int, int]:
        """The quotas for the next ``slots`` free slots, in the order of ``LANES``."""
        rounds, rest = divmod(slots, len(self.CYCLE))
        quota = {lane: rounds * weight for lane, weight in WEIGHTS.items()}
        for _ in range(rest):
            quota[self.CYCLE[self._turn]] += 1
            self._turn = (self._turn + 1) % len(self.CYCLE)
        return quota["high"], quota["normal"], quota["low"]
