"""Ids: sortable, unguessable, and enough by themselves to find the job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskserver.domain import ids
from taskserver.errors import ConfigError

ALPHABET = set("0123456789abcdefghijklmnopqrstuv")


def test_a_key_has_24_characters_of_base_32_and_contains_the_route() -> None:
    route = ids.new_route()
    key = ids.KeyMaker(route)()
    assert (len(route), len(key)) == (6, 24)
    assert set(key) <= ALPHABET
    assert key[ids.ROUTE] == route


def test_keys_differ() -> None:
    make = ids.KeyMaker("000000")
    assert len({make() for _ in range(10_000)}) == 10_000
    assert len({ids.new_route() for _ in range(100)}) == 100


def test_a_forked_process_makes_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    make = ids.KeyMaker("000000")
    make()
    left = set(make._spare)
    monkeypatch.setattr(ids.os, "getpid", lambda: 1)
    assert make()[16:] not in left
    assert left.isdisjoint(make._spare)


@given(st.integers(0, 2**50 - 1), st.integers(0, 2**50 - 1))
def test_ids_sort_by_time(one: int, other: int) -> None:
    assert (ids._time(one) < ids._time(other)) == (one < other)
    assert len(ids._time(one)) == 10


def test_an_idempotency_key_is_always_the_same_id() -> None:
    key = ids.key_for("order 42")
    assert key == ids.key_for("order 42")
    assert (len(key), key[0]) == (24, "k")
    assert set(key) <= ALPHABET


def test_keys_from_idempotency_keys_share_a_bounded_number_of_routes() -> None:
    routes = {ids.route_of(ids.key_for(str(number))) for number in range(20_000)}
    assert 1_000 < len(routes) <= 1_024
    assert ids.route_of(ids.KeyMaker("route1")()) == "route1"


@given(st.text(), st.text())
def test_different_idempotency_keys_are_different_ids(one: str, other: str) -> None:
    assert (ids.key_for(one) == ids.key_for(other)) == (one == other)


def test_an_idempotency_key_may_hold_half_a_surrogate_pair() -> None:
    assert ids.key_for("\ud800") != ids.key_for("\ud801")


@pytest.mark.parametrize("queue", ["default", "a", "with-dash", "0.x_y-z", "q" * 64])
def test_a_whole_id_splits_into_queue_and_key(queue: str) -> None:
    key = ids.KeyMaker(ids.new_route())()
    assert ids.parse(ids.job_id(queue, key)) == (queue, key)


@pytest.mark.parametrize(
    "wrong",
    ["", "-", "default", "default-", "default-short", "-" + "a" * 24, "a" * 24, "default-" + "a" * 25,
     "default-" + "ä" * 24, "default-" + "a" * 23 + " ", "default-" + "a" * 23 + "*", "../x-" + "a" * 24,
     "q\n-" + "a" * 24, "q" * 65 + "-" + "a" * 24],
)  # fmt: skip
def test_what_is_not_an_id_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError):
        ids.parse(wrong)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        queue, key = ids.parse(text)
    except ConfigError:
        return
    assert ids.job_id(queue, key) == text
