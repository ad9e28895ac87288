"""The table of all transitions of a job."""

from __future__ import annotations

import pytest

from taskserver.domain.job import ENDED, TRANSITIONS, State
from tests.architecture.headers import edges
from tests.architecture.package import scripts

LIVE = set(State) - ENDED


def test_ended_states_are_terminal() -> None:
    assert {state for state in State if state.ended} == ENDED
    assert {state.value for state in ENDED} == {"succeeded", "failed", "dead", "cancelled", "expired"}


def test_only_a_person_brings_an_ended_job_back() -> None:
    """A repair leaves a dead letter dead, and lists it."""
    assert {name for name, row in TRANSITIONS.items() if row.sources & ENDED} == {
        "requeue",
        "repair_jobs",
        "submit",
    }
    assert TRANSITIONS["requeue"].sources == ENDED


def test_rows_are_called_as_their_key_and_explain_themselves() -> None:
    for name, row in TRANSITIONS.items():
        assert row.name == name
        assert row.meaning
        assert row.targets


def test_only_submit_makes_jobs() -> None:
    makes = [path.stem for path in scripts() if None in {source for source, target in edges(path) if target}]
    assert makes == ["submit"]


def reachable(start: set[State]) -> set[State]:
    found, grown = set(start), True
    while grown:
        more = {target for row in TRANSITIONS.values() if row.sources & found for target in row.targets}
        grown = not more <= found
        found |= more
    return found


def test_every_state_is_reached_from_a_submit() -> None:
    assert reachable(set(TRANSITIONS["submit"].targets)) == set(State)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_job_can_end(state: State) -> None:
    assert reachable({state}) & ENDED


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_job_can_be_cancelled(state: State) -> None:
    assert state in TRANSITIONS["cancel"].sources


def test_only_a_claim_begins_an_attempt() -> None:
    begins = {name for name, row in TRANSITIONS.items() if State.RUNNING in row.targets - row.sources}
    assert begins == {"claim"}
