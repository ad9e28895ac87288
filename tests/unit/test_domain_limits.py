"""Limits on what a message may cost to decode."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskserver.domain.messages import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, WALKED_FROM, check_cost
from taskserver.errors import MessageInvalid, MessageTooLarge

encode = msgspec.msgpack.encode
FILL = encode("x" * WALKED_FROM)


def nested(depth: int) -> bytes:
    """Large enough to be walked, with arrays nested to this depth."""
    return b"\x92" + FILL + b"\x91" * (depth - 1) + b"\x90"


def test_size_is_bounded_first() -> None:
    check_cost(encode(b"x" * (MAX_BYTES - 5)))
    with pytest.raises(MessageTooLarge, match=r"4,194,305 bytes, and at most 4,194,304 are allowed"):
        check_cost(bytes(MAX_BYTES + 1))
    with pytest.raises(MessageTooLarge, match="result is too large: 11 bytes"):
        check_cost(bytes(11), "result", max_bytes=10)


def test_depth_is_bounded() -> None:
    check_cost(nested(MAX_DEPTH - 1))
    with pytest.raises(MessageTooLarge, match="nested too deeply: at most 64 levels are allowed"):
        check_cost(nested(MAX_DEPTH + 1))


def test_elements_are_bounded() -> None:
    check_cost(encode([0] * (MAX_ELEMENTS - 1)))
    with pytest.raises(MessageTooLarge, match="too many elements: at most 200,000 are allowed"):
        check_cost(encode([0] * MAX_ELEMENTS))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd" + (3_000_000).to_bytes(4, "big") + b"\x90" * 3_000_000,
        b"\xdf" + (1_500_000).to_bytes(4, "big") + b"\x00\x80" * 1_500_000,
        b"\x91" * 3_000_000,
        b"\x81\x00" * 1_000_000,
    ],
    ids=["arrays", "maps", "deep arrays", "deep maps"],
)
def test_bombs_are_refused(bomb: bytes) -> None:
    with pytest.raises(MessageTooLarge):
        check_cost(bomb)


@pytest.mark.parametrize(
    "broken",
    [FILL[:-1], b"\xdd\xff\xff\xff\xff" + FILL, b"\xdc\xff", b"\x92" + FILL, b"\xc1" + FILL, b"\x92" + FILL + b"\xc1",
     b"\xc6\xff\xff\xff\xff" + FILL],
)  # fmt: skip
def test_broken_data_is_invalid_or_too_large(broken: bytes) -> None:
    padding = b"" if len(broken) >= WALKED_FROM else b"\xdc\xff\xff" + FILL
    with pytest.raises((MessageInvalid, MessageTooLarge)):
        check_cost(padding + broken)


@settings(deadline=None)
@given(st.binary(max_size=64), st.binary(max_size=8))
def test_random_bytes_raise_nothing_else(head: bytes, tail: bytes) -> None:
    for data in (head + FILL + tail, (head or b"\xff") * WALKED_FROM):
        try:
            check_cost(data[:MAX_BYTES])
        except (MessageInvalid, MessageTooLarge):
            continue


leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=300)
    | st.binary(max_size=300) | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=40))
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=60,
)


@settings(deadline=None)
@given(values)
def test_whatever_the_encoder_writes_below_the_limits_passes(value: Any) -> None:
    check_cost(encode([value, "x" * WALKED_FROM]))


@pytest.mark.parametrize("count", [15, 16, 40_000, 66_000])
def test_containers_of_every_length_pass(count: int) -> None:
    check_cost(encode([[0] * count, dict.fromkeys(range(count)), "x" * WALKED_FROM]))
