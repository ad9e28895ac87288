"""Sizes as people write and read them."""

from __future__ import annotations

import pytest

from taskserver.domain.sizes import parse_size, size_text
from taskserver.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1000, 1000), ("1000", 1000), ("512MB", 512_000_000), ("1.5 GB", 1_500_000_000), ("2gib", 2 * 2**30),
        ("64k", 64_000), ("0", 0), (" 7 b ", 7),
    ],
)  # fmt: skip
def test_sizes_are_read(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "much", "-1", "1e9", "5 5", None, True, -1, 1.5, "MB"])
def test_an_invalid_size_is_refused(written: object) -> None:
    with pytest.raises(ConfigError, match=r"is not a size: write bytes, or a number with a unit such as 512MB"):
        parse_size(written)


def test_a_similar_unit_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"unknown unit 'mbb'.*did you mean 'mb'"):
        parse_size("5MBB")


def test_a_size_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="'1MB' is too small: it must be at least 64 MB"):
        parse_size("1MB", 64_000_000)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (512_000_000, "512 MB"), (2 * 2**30, "2.15 GB")]
)
def test_sizes_are_shown(size: int, text: str) -> None:
    assert size_text(size) == text
