"""Which fault happens when. The seed decides all of it: the same seed and minutes make the same plan.

Two lanes run beside each other: one hits workers and producers every few seconds, the other the broker. Within a lane a
fault begins when the one before is over and a pause has passed, so the plan holds pauses, not times.
"""

from __future__ import annotations

import random
from typing import NamedTuple

PROCESS_FAULTS = {
    "kill worker": 6,
    "terminate worker": 3,
    "terminate worker twice": 1,
    "freeze worker": 3,
    "kill all workers": 1,
    "kill producer": 2,
}
"""Faults of the first lane, and how many of each there are in a deck."""
BROKER_FAULTS = {
    "kill broker": 3,
    "cut power": 2,
    "freeze broker": 2,
    "load slowly": 1,
    "fill disk": 1,
    "fill memory": 2,
    "flush scripts": 1,
    "cut connections": 1,
    "cut subscriptions": 1,
    "pause clients": 1,
    "delete streams": 1,
    "destroy groups": 1,
    "delete consumers": 1,
    "trim streams": 1,
    "run endless script": 1,
}
"""Those of the second. Not among them is FLUSHALL: what it deletes is lost, by definition."""
SECONDS = {
    "freeze worker": (1.0, 6.0),
    "kill broker": (0.0, 3.0),
    "cut power": (0.0, 2.0),
    "freeze broker": (1.0, 10.0),
    "load slowly": (1.0, 4.0),
    "fill disk": (1.0, 4.0),
    "fill memory": (1.0, 5.0),
    "pause clients": (0.5, 4.0),
    "run endless script": (0.5, 4.0),
}
"""How long a fault lasts, from … to; the others are over at once."""
PAUSES = {"processes": (0.5, 4.0), "broker": (0.5, 5.0)}


class Step(NamedTuple):
    """One fault: what, after which pause, for how long, and a number from 0 to 1 that picks its target."""

    pause: float
    name: str
    seconds: float
    target: float


def plan(seed: str, seconds: float) -> dict[str, list[Step]]:
    """The faults of each lane for about so many seconds. Faults are dealt like cards: none stays away for long."""
    return {
        "processes": _lane(random.Random(f"{seed}/processes"), PROCESS_FAULTS, PAUSES["processes"], seconds),
        "broker": _lane(random.Random(f"{seed}/broker"), BROKER_FAULTS, PAUSES["broker"], seconds),
    }


def _lane(dice: random.Random, faults: dict[str, int], pauses: tuple[float, float], seconds: float) -> list[Step]:
    steps: list[Step] = []
    deck: list[str] = []
    left = seconds
    while left > 0:
        if not deck:
            deck = [name for name, count in faults.items() for _ in range(count)]
            dice.shuffle(deck)
        name = deck.pop()
        step = Step(dice.uniform(*pauses), name, dice.uniform(*SECONDS.get(name, (0, 0))), dice.random())
        steps.append(step)
        left -= step.pause + step.seconds
    return steps
