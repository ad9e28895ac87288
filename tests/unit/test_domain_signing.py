"""Seals: which are valid, and that all others are not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskserver.domain.messages import Envelope, pack, unpack
from taskserver.domain.signing import SEAL_BYTES, Keyring, is_sealed, without_seal
from taskserver.errors import ConfigError, SignatureInvalid

OLD, NEW = b"o" * 32, b"n" * 32
JOB = "0" * 24
NOW = 1_700_000_000_000
DAY = 86_400_000
ENVELOPE = pack(Envelope("Report", b"\x80", submitted_ms=NOW))  # type: ignore[arg-type]
ring = Keyring([NEW], ttl_ms=DAY)
sealed = ring.seal("q", JOB, ENVELOPE, NOW) + ENVELOPE


def test_a_sealed_message_opens_for_its_job_alone() -> None:
    assert len(sealed) == SEAL_BYTES + len(ENVELOPE)
    assert ring.open("q", JOB, sealed, NOW) == ENVELOPE
    for queue, job in (("r", JOB), ("q", "1" + JOB[1:]), ("", "q" + JOB), ("q0", JOB[1:])):
        with pytest.raises(SignatureInvalid, match="is invalid: it was signed with another key or for another job"):
            ring.open(queue, job, sealed, NOW)


@given(st.integers(0, len(sealed) - 1), st.integers(1, 255))
def test_no_byte_may_change(index: int, change: int) -> None:
    forged = sealed[:index] + bytes([sealed[index] ^ change]) + sealed[index + 1 :]
    with pytest.raises(SignatureInvalid):
        ring.open("q", JOB, forged, NOW)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        ring.open("q", JOB, data, NOW)


def test_an_unsigned_message_is_refused_with_what_to_change() -> None:
    with pytest.raises(
        SignatureInvalid,
        match=r"not signed, and this worker accepts signed messages only: set TASKSERVER_SIGNING_KEYS",
    ):
        ring.open("q", JOB, ENVELOPE, NOW)


def test_a_seal_expires_some_time_after_the_job_may_start() -> None:
    assert ring.open("q", JOB, sealed, NOW + DAY) == ENVELOPE
    with pytest.raises(SignatureInvalid, match="expired at 2023-11-15 22:13:20 UTC"):
        ring.open("q", JOB, sealed, NOW + DAY + 1)
    assert ring.open("q", JOB, sealed, None) == ENVELOPE


def test_an_expiry_beyond_all_dates_is_cut() -> None:
    far = ring.seal("q", JOB, ENVELOPE, 10**18) + ENVELOPE
    with pytest.raises(SignatureInvalid, match="expired at 9999-12-31"):
        ring.open("q", JOB, far, 10**18)


def test_keys_change_without_a_gap() -> None:
    """First every worker learns the new key, then submitters sign with it, then the old one goes."""
    both = Keyring([NEW, OLD])
    by_old = Keyring([OLD]).seal("q", JOB, ENVELOPE, NOW) + ENVELOPE
    by_new = both.seal("q", JOB, ENVELOPE, NOW) + ENVELOPE
    assert both.open("q", JOB, by_old, NOW) == both.open("q", JOB, by_new, NOW) == ENVELOPE
    assert Keyring([NEW]).open("q", JOB, by_new, NOW) == ENVELOPE
    with pytest.raises(SignatureInvalid):
        Keyring([NEW]).open("q", JOB, by_old, NOW)


def test_the_parts_of_what_is_signed_cannot_be_shifted() -> None:
    seals = {
        ring.seal(queue, job, body, NOW)
        for queue, job, body in (("ab", "c", b"d"), ("a", "bc", b"d"), ("a", "b", b"cd"))
    }
    assert len(seals) == 3


def test_without_a_key_sealed_and_unsealed_messages_are_read_alike() -> None:
    assert unpack(sealed) == unpack(ENVELOPE)
    assert (is_sealed(sealed), is_sealed(ENVELOPE)) == (True, False)
    assert without_seal(sealed) == without_seal(ENVELOPE) == ENVELOPE


@pytest.mark.parametrize("keys", [[], [b"k" * 31], [NEW, b""]])
def test_a_short_key_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(ConfigError, match="at least 32 bytes: make one with openssl rand -hex 32"):
        Keyring(keys)


def test_keys_are_not_shown() -> None:
    assert repr(ring) == str(ring) == "<Keyring of 1>"
    assert struct.pack(">Q", NOW + DAY) == sealed[1:9]
