"""When a failed attempt is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskserver.domain.retry import RetryPolicy, backoff


def test_the_bound_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(delay=2.0, cap=20.0)
    assert [policy.bound(attempt) for attempt in range(1, 7)] == [2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_without_exponential_it_stays() -> None:
    policy = RetryPolicy(delay=3.0, exponential=False)
    assert [policy.bound(attempt) for attempt in (1, 2, 50)] == [3.0, 3.0, 3.0]


def test_a_delay_above_the_cap_is_capped() -> None:
    assert RetryPolicy(delay=99.0, cap=5.0).bound(1) == 5.0


@pytest.mark.parametrize("attempt", [64, 65, 1_000, 10**9])
def test_very_late_attempts_do_not_overflow(attempt: int) -> None:
    assert RetryPolicy().bound(attempt) == 300.0


@given(st.integers(1, 100), st.floats(0, 1e6), st.floats(0, 1e6), st.booleans())
def test_a_wait_lies_between_zero_and_its_bound(attempt: int, delay: float, cap: float, exponential: bool) -> None:
    policy = RetryPolicy(delay=delay, cap=cap, exponential=exponential)
    assert 0.0 <= policy.wait(attempt) <= policy.bound(attempt) <= cap


def test_waits_are_spread_over_the_whole_range() -> None:
    waits = [RetryPolicy(delay=10.0).wait(1) for _ in range(1_000)]
    assert [sum(low <= wait < low + 2.5 for wait in waits) > 100 for low in (0.0, 2.5, 5.0, 7.5)] == [True] * 4


def test_calls_to_a_broker_wait_longer_each_time_and_never_all_the_same() -> None:
    for failures, bound in ((1, 0.1), (2, 0.2), (6, 3.2), (7, 5.0), (5_000, 5.0)):
        waits = [backoff(failures) for _ in range(200)]
        assert bound / 2 <= min(waits) < 0.6 * bound
        assert 0.9 * bound < max(waits) <= bound
