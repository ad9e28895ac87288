"""Partitions of a queue: their names, and which one a key belongs to."""

from __future__ import annotations

from collections import Counter

import pytest

from taskserver.domain.ids import KeyMaker, job_id, key_for, parse
from taskserver.domain.names import check_queue_name
from taskserver.domain.partitions import (
    MOST_PARTITIONS,
    check_count,
    check_partition_name,
    jump,
    number_for,
    number_of,
    partitions,
    queue_of,
)
from taskserver.errors import ConfigError


def test_the_first_partition_is_the_queue_itself() -> None:
    assert partitions("mail", 3) == ["mail", "mail~1", "mail~2"]
    assert [queue_of(name) for name in partitions("mail", 3)] == ["mail"] * 3
    assert [number_of(name) for name in partitions("mail", 3)] == [0, 1, 2]


def test_a_queue_cannot_have_the_name_of_a_partition() -> None:
    with pytest.raises(ConfigError, match="is not a valid queue name"):
        check_queue_name("mail~1")


@pytest.mark.parametrize("name", ["mail", "mail~1", "a.b-c~255"])
def test_names_of_partitions(name: str) -> None:
    assert check_partition_name(name) == name


@pytest.mark.parametrize(
    "name", ["mail~", "mail~0", "mail~01", "mail~256", "mail~x", "mail~1~2", "~1", "mail~-1", "mail~1\n"]
)
def test_invalid_partition_names(name: str) -> None:
    with pytest.raises(ConfigError):
        check_partition_name(name)


@pytest.mark.parametrize("count", [0, -1, MOST_PARTITIONS + 1])
def test_invalid_numbers_of_partitions(count: int) -> None:
    with pytest.raises(ConfigError, match="the number of partitions must be between 1 and 256"):
        check_count(count)


def test_an_id_finds_its_partition() -> None:
    key = KeyMaker("000000")()
    assert parse(job_id("mail~3", key)) == ("mail~3", key)


def test_keys_are_spread_evenly() -> None:
    found = Counter(number_for(key_for(f"order {i}"), 8) for i in range(8000))
    assert sorted(found) == list(range(8))
    assert min(found.values()) > 850


def test_when_a_queue_grows_few_keys_move_and_only_to_new_partitions() -> None:
    keys = [key_for(f"order {i}") for i in range(4000)]
    moved = [key for key in keys if number_for(key, 6) != number_for(key, 8)]
    assert 0.2 < len(moved) / len(keys) < 0.3  # 1 - 6/8
    assert {number_for(key, 8) for key in moved} == {6, 7}


def test_the_hash_is_the_one_of_the_paper() -> None:
    """Values from other implementations."""
    assert [jump(key, 1) for key in (0, 1, 2**64 - 1)] == [0, 0, 0]
    assert [jump(42, 57), jump(0xDEAD10CC, 666), jump(256, 1024)] == [43, 361, 520]
