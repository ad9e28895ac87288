"""Forged notifications report nothing wrong and stop no listener."""

import pytest

from taskserver.domain.ids import KeyMaker, key_for, new_route
from taskserver.domain.job import ENDED, Outcome, State
from taskserver.store.queries.outcomes import ended_jobs, jobs_with_events

KEY = "01k8aaaaaaroute1bbbbbbbb"


def test_every_state_that_a_job_may_end_in_has_a_letter_of_its_own() -> None:
    assert len({state.value[0] for state in ENDED}) == len(ENDED)


def test_an_end_with_its_outcome() -> None:
    message = b"d" + KEY.encode() + b"s\x02ok" + KEY.encode() + b"f\xff"
    assert list(ended_jobs(message)) == [(KEY, Outcome(State.SUCCEEDED, b"ok")), (KEY, None)]
    assert list(jobs_with_events(message)) == []


def test_new_events() -> None:
    assert list(jobs_with_events(b"e" + KEY.encode() * 2)) == [KEY, KEY]
    assert list(ended_jobs(b"e" + KEY.encode() * 2)) == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"d",
        b"x" + KEY.encode(),
        b"d" + KEY[1:].encode(),
        b"d" + KEY.encode() + b"s",
        b"d" + KEY.encode() + b"s\x09ok",
    ],
)
def test_what_cannot_be_read_is_ignored(message: bytes) -> None:
    assert list(ended_jobs(message)) == []


def test_an_unknown_state_only_says_which_job_to_check() -> None:
    assert list(ended_jobs(b"d" + KEY.encode() + b"?\x00")) == [(KEY, None)]


def test_earlier_workers_only_say_which_job_to_check() -> None:
    assert list(ended_jobs(b"d" + KEY.encode())) == [(KEY, None)]
    for second in (KEY, key_for("any"), KeyMaker(new_route())()):
        assert list(ended_jobs(b"d" + (KEY + second * 3).encode())) == [
            (KEY, None),
            *[(second, None)] * 3,
        ]
