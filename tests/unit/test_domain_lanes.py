"""Lanes: which priority waits where, and how free slots are shared."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskserver.domain.lanes import CYCLE, DEFAULT_LANE, LANES, WEIGHTS, LaneQuotas, lane_for, lane_quotas
from taskserver.errors import ConfigError


@pytest.mark.parametrize(
    ("priority", "lane"),
    [(None, "normal"), *((n, "high") for n in (1, 2, 3)), *((n, "normal") for n in (4, 5, 6, 7)),
     *((n, "low") for n in (8, 9, 10)), *((lane, lane) for lane in LANES)],
)  # fmt: skip
def test_a_priority_has_its_lane(priority: int | str | None, lane: str) -> None:
    assert lane_for(priority) == lane


@pytest.mark.parametrize("priority", [0, 11, -1, True, False, 5.0, "5", "HIGH", "", "returned", [], object()])
def test_other_priorities_are_refused(priority: object) -> None:
    with pytest.raises(ConfigError, match="priority must be between 1"):
        lane_for(priority)  # type: ignore[arg-type]


def test_every_lane_has_a_weight() -> None:
    assert tuple(WEIGHTS) == LANES
    assert DEFAULT_LANE in LANES


@given(st.integers(0, len(CYCLE) - 1), st.integers(0, 200))
def test_every_slot_is_given_to_a_lane(turn: int, slots: int) -> None:
    assert sum(lane_quotas(turn, slots)) == slots


def quotas_of_claims(slots: int, claims: int) -> list[LaneQuotas]:
    """What claim after claim asks for, each for so many slots."""
    return [lane_quotas(claim * slots % len(CYCLE), slots) for claim in range(claims)]


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 5, 7, 10, 13, 100])
def test_over_many_claims_each_lane_gets_its_weight(slots: int) -> None:
    claims = quotas_of_claims(slots, 100)
    taken = dict(zip(LANES, (sum(column) for column in zip(*claims, strict=True)), strict=True))
    assert taken == {lane: weight * slots * 10 for lane, weight in WEIGHTS.items()}


def test_turns_are_spread_out() -> None:
    """No lane waits longer than its weight allows."""
    turns = [LANES[quotas.index(1)] for quotas in quotas_of_claims(1, 50)]
    for lane, longest in (("high", 3), ("normal", 4), ("low", 10)):
        positions = [position for position, turn in enumerate(turns) if turn == lane]
        assert max(b - a for a, b in itertools.pairwise(positions)) <= longest
